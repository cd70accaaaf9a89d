{{/* What objects begin with. At most 40 characters, so that every suffix and a Pod's own fit into 63. */}}
{{- define "ragmesh.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change, whatever the values: selectors cannot. Of (dict "root" $ "component" NAME); without a
component, those of the whole release. */}}
{{- define "ragmesh.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* All labels of an object, of the same dict, and "labels" MAP for more. */}}
{{- define "ragmesh.labels" -}}
{{ include "ragmesh.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ragmesh
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with merge dict (default dict .labels) (default dict .root.Values.commonLabels) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels of Pods, of (dict "root" $ "component" NAME), and "values" VALUES for those that it says itself: without the
chart's version, which would restart them for nothing. */}}
{{- define "ragmesh.podLabels" -}}
{{ include "ragmesh.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ragmesh
{{- with merge dict (default dict (get (default dict .values) "podLabels")) (default dict .root.Values.commonLabels) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that the chart gives, and no value may: JSON. */}}
{{- define "ragmesh.ownLabels" -}}
["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "app.kubernetes.io/version", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by", "helm.sh/chart"]
{{- end -}}

{{/* The annotations of Pods that serve, of the same dict. What is in /tmp may go: a node with such a Pod is free to be
taken away (https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md). */}}
{{- define "ragmesh.podAnnotations" -}}
{{- toYaml (merge dict (default dict .values.podAnnotations) (dict "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes" "tmp")) -}}
{{- end -}}

{{/* The metadata of an object of a component, of (dict "root" $ "component" NAME "suffix" TEXT "labels" MAP). */}}
{{- define "ragmesh.metadata" -}}
name: {{ include "ragmesh.fullname" .root }}{{ with .component }}-{{ . }}{{ end }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "ragmesh.labels" . | nindent 2 }}
{{- end -}}

{{/* REGISTRY/REPOSITORY:TAG or @DIGEST, of (dict "root" $ "image" VALUES "repository" DEFAULT). */}}
{{- define "ragmesh.image" -}}
{{- $default := .root.Values.default.image -}}
{{- with default $default.registry .image.registry }}{{ . }}/{{ end -}}
{{- default .repository .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}
{{- else }}:{{ coalesce .image.tag $default.tag .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The host name under which the gateway finds a component; .component and .suffix as above. */}}
{{- define "ragmesh.host" -}}
{{ include "ragmesh.fullname" .root }}-{{ .component }}{{ with .suffix }}-{{ . }}{{ end }}.{{ .root.Release.Namespace }}.svc{{ with .root.Values.clusterDomain }}.{{ . }}{{ end }}
{{- end -}}

{{/* The Service that clients call. */}}
{{- define "ragmesh.publicService" -}}
{{ include "ragmesh.fullname" . }}-{{ ternary "embedded" "gateway" .Values.embedded.enabled }}
{{- end -}}

{{/* The PriorityClass of a Pod, of (dict "root" $ "component" NAME "values" VALUES); may be empty. What migrates runs
before the chart's own is made. */}}
{{- define "ragmesh.priorityClassName" -}}
{{- if .values.priorityClassName }}{{ .values.priorityClassName }}
{{- else if and .root.Values.priorityClass.create (ne .component "migrate") }}{{ include "ragmesh.fullname" .root }}-{{ .root.Release.Namespace }}
{{- end -}}
{{- end -}}

{{/* Whether `helm test` asks: it needs a key. Empty: no. */}}
{{- define "ragmesh.tested" -}}
{{- $key := default .Values.secrets.keys.bootstrapKey .Values.test.secretKey -}}
{{- if and .Values.test.enabled $key (or .Values.secrets.name .Values.test.secretName) }}yes{{ end -}}
{{- end -}}
