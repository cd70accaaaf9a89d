{{/* One rule out, of (dict "rule" (peers, ports)): to those peers, or to any address when none is named. */}}
{{- define "ragmesh.egress" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . | int }}, protocol: TCP}
    {{- end }}
  {{- with .peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The rules out to what a component calls outside of the release, of (dict "root" $ "component" NAME). */}}
{{- define "ragmesh.egressToStores" -}}
{{- $v := .root.Values -}}
{{- $p := $v.networkPolicy -}}
{{- $c := .component -}}
{{- $rules := list -}}
{{- if has $c (list "gateway" "retriever" "ingestor" "migrate") }}{{ $rules = append $rules $p.records }}{{ end -}}
{{- if has $c (list "retriever" "ingestor" "migrate") }}{{ $rules = concat $rules (list $p.vectors $p.state) }}{{ end -}}
{{- if eq $c "retriever" }}{{ $rules = append $rules $p.cache }}{{ end -}}
{{- if and (has $c (list "ingestor" "migrate")) (not $v.stores.blobs.volume.enabled) }}{{ $rules = append $rules $p.blobs }}{{ end -}}
{{- if and (has $c (list "retriever" "ingestor" "embedded")) $v.embedding.url }}{{ $rules = append $rules $p.embedding }}{{ end -}}
{{- if and (has $c (list "generator" "embedded")) $v.model.url }}{{ $rules = append $rules $p.model }}{{ end -}}
{{- if and (ne $c "migrate") $v.telemetry.otlpEndpoint }}{{ $rules = append $rules $p.otlp }}{{ end -}}
{{- range $rules }}
{{ include "ragmesh.egress" . }}
{{- end -}}
{{- end -}}

{{/* The rule out to the cluster's DNS. */}}
{{- define "ragmesh.egressToDns" -}}
{{- $dns := .Values.networkPolicy.dns -}}
- ports:
    {{- range $dns.ports }}
    - {port: {{ . | int }}, protocol: UDP}
    - {port: {{ . | int }}, protocol: TCP}
    {{- end }}
  {{- with $dns.peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
