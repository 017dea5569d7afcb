// Makes tests/golden/hpa.json: what Kubernetes' own controller decides, for tests/server/scaling/hpa_test.cc.
// Lay it into a copy of k8s.io/kubernetes' package pkg/controller/podautoscaler (without that package's other
// tests) and run: GOLDEN=hpa.json go test -run TestGolden
package podautoscaler

import (
	"encoding/json"
	"math"
	"math/rand"
	"os"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type policy struct {
	Kind   string `json:"type"`
	Value  int32  `json:"value"`
	Period int32  `json:"period"`
}
type rules struct {
	Window   int32    `json:"window"`
	Select   string   `json:"select"`
	Policies []policy `json:"policies"`
}
type look struct {
	At      int   `json:"at"`
	Metric  int64 `json:"milli"`
	From    int32 `json:"from"`
	Desired int32 `json:"to"`
}
type golden struct {
	Min   int32  `json:"min"`
	Max   int32  `json:"max"`
	Up    rules  `json:"up"`
	Down  rules  `json:"down"`
	Looks []look `json:"looks"`
}

func draw(r *rand.Rand, windows []int32) rules {
	out := rules{Window: windows[r.Intn(len(windows))]}
	out.Select = []string{"Max", "Max", "Min", "Disabled"}[r.Intn(4)]
	if r.Intn(3) > 0 && out.Select == "Disabled" {
		out.Select = "Max"
	}
	for n := 1 + r.Intn(2); n > 0; n-- {
		p := policy{Kind: []string{"Pods", "Percent"}[r.Intn(2)], Period: []int32{15, 30, 60, 120}[r.Intn(4)]}
		if p.Kind == "Pods" {
			p.Value = int32(1 + r.Intn(5))
		} else {
			p.Value = []int32{10, 50, 100, 200}[r.Intn(4)]
		}
		out.Policies = append(out.Policies, p)
	}
	return out
}

func convert(in rules) *autoscalingv2.HPAScalingRules {
	sel := autoscalingv2.ScalingPolicySelect(in.Select)
	out := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &in.Window, SelectPolicy: &sel}
	for _, p := range in.Policies {
		kind := autoscalingv2.HPAScalingPolicyType(p.Kind)
		policy := autoscalingv2.HPAScalingPolicy{Type: kind, Value: p.Value, PeriodSeconds: p.Period}
		out.Policies = append(out.Policies, policy)
	}
	return out
}

func TestGolden(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	var all []golden
	for n := 0; n < 60; n++ {
		g := golden{Min: int32(r.Intn(3)), Max: int32(5 + r.Intn(30))}
		g.Up = draw(r, []int32{0, 0, 30, 60})
		g.Down = draw(r, []int32{0, 60, 300})
		hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
		hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas = &g.Min, g.Max
		hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleUp:   convert(g.Up),
			ScaleDown: convert(g.Down),
		}
		a := &HorizontalController{
			recommendations: map[string][]timestampedRecommendation{},
			scaleUpEvents:   map[string][]timestampedScaleEvent{},
			scaleDownEvents: map[string][]timestampedScaleEvent{},
		}
		tolerance := Tolerances{scaleDown: 0.1, scaleUp: 0.1}
		replicas, at, level := g.Min, 0, r.Float64()*float64(g.Max)
		first := true
		for i := 0; i < 40; i++ {
			if r.Intn(6) == 0 {
				level = r.Float64() * float64(g.Max) * 1.3
			}
			if r.Intn(15) == 0 {
				level = 0
			}
			milli := int64(level * (0.9 + 0.2*r.Float64()) * 1000)
			if r.Intn(2) == 0 {
				milli = milli / 1000 * 1000
			}
			if first {
				a.recordInitialRecommendation(replicas, "x")
				first = false
			}
			desired := replicas
			if replicas == 0 && g.Min != 0 {
			} else if replicas > g.Max {
				desired = g.Max
			} else if replicas < g.Min {
				desired = g.Min
			} else {
				want := replicas
				ratio := float64(milli) / (float64(1000) * float64(replicas))
				if !tolerance.isWithin(ratio) {
					want = int32(math.Ceil(float64(milli) / 1000))
				}
				desired = a.normalizeDesiredReplicasWithBehaviors(hpa, "x", replicas, want, g.Min)
			}
			g.Looks = append(g.Looks, look{at, milli, replicas, desired})
			if desired != replicas {
				a.storeScaleEvent(hpa.Spec.Behavior, "x", replicas, desired)
			}
			replicas = desired
			// The controller reads the clock itself: its past is moved back instead.
			step := 15 * (1 + r.Intn(2))
			back := -time.Duration(step) * time.Second
			at += step
			for j := range a.recommendations["x"] {
				a.recommendations["x"][j].timestamp = a.recommendations["x"][j].timestamp.Add(back)
			}
			for j := range a.scaleUpEvents["x"] {
				a.scaleUpEvents["x"][j].timestamp = a.scaleUpEvents["x"][j].timestamp.Add(back)
			}
			for j := range a.scaleDownEvents["x"] {
				a.scaleDownEvents["x"][j].timestamp = a.scaleDownEvents["x"][j].timestamp.Add(back)
			}
		}
		all = append(all, g)
	}
	f, _ := os.Create(os.Getenv("GOLDEN"))
	f.WriteString("[\n")
	for i, g := range all {
		b, _ := json.Marshal(g)
		f.Write(b)
		if i+1 < len(all) {
			f.WriteString(",")
		}
		f.WriteString("\n")
	}
	f.WriteString("]\n")
	f.Close()
}
