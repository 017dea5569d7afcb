{{/* Names, labels and small pieces that several templates share. */}}

{{- define "sluice.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of objects that belong to no namespace, or to kube-system. */}}
{{- define "sluice.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "sluice.fullname" .) -}}
{{- end -}}

{{/* What never changes: selectors stand on it. (dict "root" $ "component" "engine") */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Of pods: nothing that changes with the chart's version, or every upgrade would start all of them anew. */}}
{{- define "sluice.podLabels" -}}
{{ .match }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .spec.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/part-of: sluice
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "image" VALUES "suffix" "-cuda") */}}
{{- define "sluice.image" -}}
{{- $tag := .image.tag | default .root.Values.image.tag | default (printf "%s%s" .root.Chart.AppVersion .suffix) -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.image.registry -}}{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}{{- end -}}
{{- if .image.digest -}}{{ $repository }}@{{ .image.digest }}{{- else -}}{{ $repository }}:{{ $tag }}{{- end -}}
{{- end -}}

{{/* A map of flags as --name=value, sorted; null leaves one out, true is a switch, a list repeats the flag. */}}
{{- define "sluice.flags" -}}
{{- range $name, $value := . }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%s" $name (toString .) | quote }}
{{- end }}
{{- else if kindIs "bool" $value }}
{{- if $value }}
- --{{ $name }}
{{- end }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%s" $name (eq $value (floor $value) | ternary (printf "%.0f" $value) (toString $value)) | quote }}
{{- else if not (kindIs "invalid" $value) }}
- {{ printf "--%s=%s" $name (toString $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Kubernetes takes few characters in a label's value: as the router writes a model's name there. */}}
{{- define "sluice.labelForm" -}}
{{- $plain := regexReplaceAll "[^A-Za-z0-9_.-]" (trunc 63 .) "-" -}}
{{- regexReplaceAll "^[^A-Za-z0-9]+|[^A-Za-z0-9]+$" $plain "" -}}
{{- end -}}

{{/* Every model with what holds for all of them filled in, as JSON: {"models": [...]}. */}}
{{- define "sluice.models" -}}
{{- $models := list -}}
{{- $names := dict -}}
{{- $served := dict -}}
{{- range .Values.models -}}
{{- $model := mergeOverwrite (deepCopy $.Values.engine) (deepCopy .) -}}
{{- $source := get . "model" | default "" -}}
{{- if and (not $source) (not (and $model.flags.simulate (get . "name") (get . "servedModelName"))) -}}
{{- fail "models: each wants a model (or, to try things without one: flags.simulate, name and servedModelName)" -}}
{{- end -}}
{{- $path := regexReplaceAll "[@?#].*$" $source "" -}}
{{- $file := trimSuffix ".gguf" (base $path) -}}
{{- $isPath := or (contains "://" $source) (hasPrefix "/" $source) -}}
{{- $name := .name | default (regexReplaceAll "[^a-z0-9]+" (lower $file) "-" | trimAll "-" | trunc 40 | trimSuffix "-") -}}
{{- $servedName := .servedModelName | default (ternary $file $path $isPath) -}}
{{- if not $name -}}{{- fail (printf "models: '%s' needs a name" $source) -}}{{- end -}}
{{- $fullname := printf "%s-%s" (include "sluice.fullname" $) $name | trunc 57 | trimSuffix "-" -}}
{{- if hasKey $names $fullname -}}
{{- fail (printf "models: two are named '%s'; give one of them another name" $name) -}}
{{- end -}}
{{- if hasKey $served $servedName -}}
{{- fail (printf "models: clients call two of them '%s'; give one of them another servedModelName" $servedName) -}}
{{- end -}}
{{- $_ := set $names $fullname true -}}
{{- $_ := set $served $servedName true -}}
{{- $model = mergeOverwrite $model (dict "name" $name "servedModelName" $servedName "fullname" $fullname) -}}
{{- if $model.autoscaling.enabled -}}
{{- if not $.Values.metricsApi.enabled -}}
{{- fail (printf "models: the autoscaler of '%s' asks the router's metrics API: set metricsApi.enabled, or autoscaling.enabled to false" $name) -}}
{{- end -}}
{{- if not (index $.Values.metricsApi $model.autoscaling.api) -}}
{{- fail (printf "models: the autoscaler of '%s' asks the %s metrics API, which is off: set metricsApi.%s" $name $model.autoscaling.api $model.autoscaling.api) -}}
{{- end -}}
{{- if lt (int $model.autoscaling.maxReplicas) (int $model.autoscaling.minReplicas) -}}
{{- fail (printf "models: autoscaling.maxReplicas of '%s' is below its minReplicas" $name) -}}
{{- end -}}
{{- end -}}
{{- $models = append $models $model -}}
{{- end -}}
{{- dict "models" $models | toJson -}}
{{- end -}}

{{/* What the pods of both kinds have alike: (dict "root" $ "spec" VALUES "component" … "match" LABELS-YAML). */}}
{{- define "sluice.scheduling" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .spec.topologySpreadConstraints }}
{{- toYaml .spec.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- .match | nindent 8 }}
{{- end }}
{{- with .spec.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .spec.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .spec.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "sluice.podAnnotations" -}}
{{- if .scrape }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- with .spec.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.engineAccount" -}}
{{- .Values.engine.serviceAccountName | default (printf "%s-engine" (include "sluice.fullname" .)) -}}
{{- end -}}
{{- define "sluice.routerAccount" -}}
{{- .Values.router.serviceAccountName | default (printf "%s-router" (include "sluice.fullname" .)) -}}
{{- end -}}
