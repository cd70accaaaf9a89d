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

{{/* What is named as an address must be among the ports that a policy opens. Clients take the port of the scheme when
the address has none; Milvus' is refused without one. */}}
{{- define "ragmesh.validateEgress" -}}
{{- $v := .Values -}}
{{- $s := $v.stores -}}
{{- $usual := dict "http" "80" "https" "443" "bolt" "7687" "bolt+s" "7687" "bolt+ssc" "7687" "redis" "6379" "rediss" "6379" -}}
{{- $called := dict "embedding" $v.embedding.url "model" $v.model.url "otlp" $v.telemetry.otlpEndpoint -}}
{{- if not $v.embedded.enabled -}}
{{- $called = mustMerge $called (dict "records" $s.records.url "vectors" $s.vectors.url "state" $s.state.url "cache" $s.cache.url "blobs" $s.blobs.s3Endpoint) -}}
{{- end -}}
{{- range $name, $url := ternary $called dict $v.networkPolicy.enabled -}}
{{- $authority := regexFind "^([^:/]+://)?[^/?]*" $url -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- $port = default (get $usual (regexFind "^[^:/]+://" $url | trimSuffix "://")) $port -}}
{{- $ports := list -}}
{{- range (get $v.networkPolicy $name).ports }}{{ $ports = append $ports (toString .) }}{{ end -}}
{{- if and $port (not (has $port $ports)) -}}
{{- fail (printf "networkPolicy.%s.ports has no %s, so that nothing would reach %s: set it to [%s]" $name $port $url $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
