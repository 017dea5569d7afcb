"""What the chart makes, in each of its cases: valid for every Kubernetes it is for, and consistent in itself.
Needs neither helm nor a cluster."""

import copy
import re
import subprocess

import pytest
import yaml
from manifests import CASES, ROOT, Manifests, chooses, container, faults, flags, pod, versions

VERSIONS = versions("1.27", "1.34")
UID = 65532


@pytest.fixture(params=CASES, ids=[case.stem for case in CASES])
def made(request):
    return Manifests(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_object_is_valid(made, version):
    assert made.objects
    assert [fault for each in made.objects for fault in faults(each, version)] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_object_is_noticed(version):
    router = Manifests(ROOT / "deploy/rendered").router
    for break_it in (
        lambda d: d["spec"].update(replicass=1),
        lambda d: d["spec"].update(replicas="one"),
        lambda d: container(d).update(readynessProbe={}),
        lambda d: container(d)["readinessProbe"]["httpGet"].pop("port"),
        lambda d: d["spec"].pop("selector"),
    ):
        broken = copy.deepcopy(router)
        break_it(broken)
        assert faults(broken, version), break_it


def test_names_are_there_once(made):
    names = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in made.objects
    ]
    assert len(set(names)) == len(names)
    for kind, _, name in names:
        assert len(name) <= 63 or kind == "APIService", name


def test_the_autoscaler_asks_for_what_the_router_tells(made):
    targets = set()
    for scaler in made.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        target = made.one("Deployment", spec["scaleTargetRef"]["name"])
        targets.add(target["metadata"]["name"])
        assert "replicas" not in target["spec"], "two owners of one number"
        assert 1 <= spec["minReplicas"] <= spec["maxReplicas"]
        (metric,) = spec["metrics"]
        asked = metric[metric["type"].lower()]
        assert asked["target"] == {"type": "AverageValue", "averageValue": "1"}
        assert asked["metric"]["name"] == "sluice_demand_replicas"
        # A model's name in the form of a label's value.
        (model,) = flags(target)["served-model-name"]
        assert model in flags(made.router)["model"]
        label = re.sub(r"[^\w.-]", "-", model, flags=re.ASCII)[:63]
        assert asked["metric"]["selector"] == {"matchLabels": {"model": label}}
        if metric["type"] == "Object":
            assert asked["describedObject"]["name"] in made.names("Service")
        group = {"Object": "custom", "External": "external"}[metric["type"]] + ".metrics.k8s.io"
        served = [each["spec"]["group"] for each in made.of("APIService")]
        assert group in served
        (reader,) = [each for each in made.of("ClusterRole") if group in each["rules"][0]["apiGroups"]]
        (binding,) = [
            each
            for each in made.of("ClusterRoleBinding")
            if each["roleRef"]["name"] == reader["metadata"]["name"]
        ]
        assert [each["name"] for each in binding["subjects"]] == ["horizontal-pod-autoscaler"]
    for engine in made.workloads("engine"):
        assert ("replicas" in engine["spec"]) == (engine["metadata"]["name"] not in targets)


def test_the_metrics_api_has_a_service_and_a_port(made):
    for api in made.of("APIService"):
        spec = api["spec"]
        assert api["metadata"]["name"] == f"{spec['version']}.{spec['group']}"
        assert spec.get("insecureSkipTLSVerify", False) != bool(
            spec.get("caBundle") or api["metadata"].get("annotations")
        )
        service = made.one("Service", spec["service"]["name"])
        assert service["metadata"]["namespace"] == spec["service"]["namespace"]
        (port,) = [each for each in service["spec"]["ports"] if each["port"] == spec["service"]["port"]]
        ports = {each["name"]: each["containerPort"] for each in container(made.router)["ports"]}
        assert [str(ports[port["targetPort"]])] == flags(made.router)["metrics-api-port"]
    assert bool(made.of("APIService")) == ("metrics-api-port" in flags(made.router))


def test_services_and_budgets_find_their_pods(made):
    workloads = made.of("Deployment")
    for service in made.of("Service"):
        chosen = [each for each in workloads if chooses(service["spec"]["selector"], each)]
        assert chosen, service["metadata"]["name"]
        for each in chosen:
            names = [port["name"] for port in container(each)["ports"]]
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(names)
    for budget in made.of("PodDisruptionBudget"):
        (each,) = [w for w in workloads if chooses(budget["spec"]["selector"]["matchLabels"], w)]
        assert each["metadata"]["name"] == budget["metadata"]["name"]
        assert budget["spec"]["maxUnavailable"], "a budget of none holds up every drain of a node"
    for policy in made.of("NetworkPolicy"):
        assert [w for w in workloads if chooses(policy["spec"]["podSelector"]["matchLabels"], w)]
    # Each Deployment chooses its own pods and no other's.
    for each in workloads:
        selector = each["spec"]["selector"]["matchLabels"]
        chosen = [w["metadata"]["name"] for w in workloads if chooses(selector, w)]
        assert chosen == [each["metadata"]["name"]]
    (name,) = flags(made.router)["k8s-service"]
    engines = made.one("Service", name)
    assert engines["spec"]["clusterIP"] == "None"
    assert all(chooses(engines["spec"]["selector"], each) for each in made.workloads("engine"))
    assert not chooses(engines["spec"]["selector"], made.router)
    (name,) = flags(made.router)["k8s-peer-service"]
    peers = made.one("Service", name)
    assert chooses(peers["spec"]["selector"], made.router) and len(peers["spec"]["ports"]) == 1


def test_a_policy_lets_the_router_in_everywhere(made):
    labels = made.router["spec"]["template"]["metadata"]["labels"]
    policies = made.of("NetworkPolicy")
    for policy in policies:
        (rule,) = [each for each in policy["spec"]["ingress"] if each["ports"] == [{"port": "http"}]]
        selectors = [each["podSelector"]["matchLabels"] for each in rule["from"] if "podSelector" in each]
        assert any(selector.items() <= labels.items() for selector in selectors)
    assert len(policies) in (0, 2)


def test_what_a_pod_needs_to_end_adds_up(made):
    for each in made.of("Deployment"):
        (delay,), (running,) = flags(each)["shutdown-delay"], flags(each)["shutdown-timeout"]
        assert pod(each)["terminationGracePeriodSeconds"] == int(delay) + int(running) + 10


def test_loading_has_time_and_a_busy_pod_is_not_killed(made):
    for each in made.of("Deployment"):
        only = container(each)
        ports = {port["name"]: str(port["containerPort"]) for port in only["ports"]}
        assert [ports["probes"]] == flags(each)["probe-port"]
        assert [ports["http"]] == flags(each)["port"]
        assert only["livenessProbe"]["httpGet"]["path"] == "/health"
        assert only["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert only["livenessProbe"]["timeoutSeconds"] >= 5
        assert only["livenessProbe"]["failureThreshold"] * only["livenessProbe"]["periodSeconds"] >= 60
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert "initialDelaySeconds" not in only.get(probe, {})
            assert only.get(probe, only["livenessProbe"])["httpGet"]["port"] == "probes"
    for each in made.workloads("engine"):
        startup = container(each)["startupProbe"]
        budget = startup["failureThreshold"] * startup["periodSeconds"]
        assert budget >= 60 and each["spec"]["progressDeadlineSeconds"] > budget


def test_pods_keep_to_the_restricted_standard(made):
    for each in made.of("Deployment"):
        spec, only = pod(each), container(each)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == UID
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert spec["enableServiceLinks"] is False
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        assert {mount["name"] for mount in only.get("volumeMounts", [])} == volumes
        for variable in only.get("env", []):
            assert not re.search("KEY|TOKEN|PASSWORD", variable["name"]) or "valueFrom" in variable
    for each in made.workloads("engine"):
        assert pod(each)["automountServiceAccountToken"] is False


def test_the_router_has_the_rights_it_uses_and_no_other(made):
    name = pod(made.router)["serviceAccountName"]
    assert name in made.names("ServiceAccount")
    expected = [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ]
    told = flags(made.router)
    if "pod-deletion-cost" in told:
        expected.append({"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]})
    woken = [target.split("=deployments/") for target in told.get("scale-target", [])]
    if woken:
        expected.append(
            {
                "apiGroups": ["apps"],
                "resources": ["deployments/scale"],
                "resourceNames": [deployment for _, deployment in woken],
                "verbs": ["get", "patch"],
            }
        )
    (role,) = made.of("Role")
    assert role["rules"] == expected
    bound = {each["roleRef"]["name"] for each in made.of("RoleBinding")}
    extra = {"extension-apiserver-authentication-reader"} if made.of("APIService") else set()
    assert bound == {role["metadata"]["name"]} | extra
    for each in made.of("RoleBinding"):
        assert [subject["name"] for subject in each["subjects"]] == [name]
    for model, deployment in woken:
        assert flags(made.one("Deployment", deployment))["served-model-name"] == [model]


def test_the_kustomization_names_every_file():
    folder = ROOT / "deploy/rendered"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted({f.name for f in folder.glob("*.yaml")} - {"kustomization.yaml"})


def test_kubectl_builds_the_kustomization():
    try:
        done = subprocess.run(
            ["kubectl", "kustomize", ROOT / "deploy/rendered"], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("kubectl is not on the PATH")
    assert done.returncode == 0, done.stderr
    built = {(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(done.stdout)}
    listed = Manifests(ROOT / "deploy/rendered").objects
    assert built == {(d["kind"], d["metadata"]["name"]) for d in listed}
