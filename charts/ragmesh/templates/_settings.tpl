{{/* Which secret a component reads, and from which of secrets.keys: JSON, variable -> key in the Secret. Those that are
not used are left out. Of (dict "root" $ "component" NAME). */}}
{{- define "ragmesh.secretKeys" -}}
{{- $readers := dict
  "RAGMESH_IDENTITY_KEYS" (list "identityKeys" "gateway" "retriever" "generator" "ingestor")
  "RAGMESH_BOOTSTRAP_KEY" (list "bootstrapKey" "gateway" "embedded")
  "RAGMESH_RECORDS_PASSWORD" (list "recordsPassword" "gateway" "retriever" "ingestor" "migrate")
  "RAGMESH_VECTORS_TOKEN" (list "vectorsToken" "retriever" "ingestor" "migrate")
  "RAGMESH_STATE_URL" (list "stateUrl" "retriever" "ingestor" "migrate")
  "RAGMESH_CACHE_URL" (list "cacheUrl" "retriever")
  "RAGMESH_BLOBS_S3_ACCESS_KEY" (list "s3AccessKey" "ingestor" "migrate")
  "RAGMESH_BLOBS_S3_SECRET_KEY" (list "s3SecretKey" "ingestor" "migrate")
  "RAGMESH_EMBEDDING_KEY" (list "embeddingKey" "retriever" "ingestor" "embedded")
  "RAGMESH_MODEL_KEY" (list "modelKey" "generator" "embedded") -}}
{{- $found := dict -}}
{{- range $variable, $rule := $readers -}}
{{- $key := get $.root.Values.secrets.keys (first $rule) -}}
{{- if and $key $.root.Values.secrets.name (has $.component (rest $rule)) -}}
{{- $_ := set $found $variable $key -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The variables of a component, but for what is secret, which is named by files: YAML, name -> text. */}}
{{- define "ragmesh.settings" -}}
{{- $v := .root.Values -}}
{{- $c := .component -}}
{{- $inner := has $c (list "gateway" "retriever" "generator" "ingestor") -}}
{{- $set := dict "RAGMESH_LOG_LEVEL" $v.telemetry.logLevel "RAGMESH_TRACE_RATIO" $v.telemetry.traceRatio -}}
{{- with $v.telemetry.otlpEndpoint }}{{ $_ := set $set "RAGMESH_OTLP_ENDPOINT" . }}{{ end -}}
{{- if $inner -}}
{{- $_ := mustMerge $set (dict
  "RAGMESH_HOST" "0.0.0.0"
  "RAGMESH_ADMIN_HOST" "0.0.0.0"
  "RAGMESH_GRPC_PORT" (include "ragmesh.port" $c)
  "RAGMESH_ADMIN_PORT" (include "ragmesh.port" "admin")
  "RAGMESH_HEALTH_PORT" (include "ragmesh.port" "health")
  "RAGMESH_DRAIN_SECONDS" .values.drain.drainSeconds
  "RAGMESH_GRACE_SECONDS" .values.drain.graceSeconds) -}}
{{- if $v.tls.mesh.enabled -}}
{{- $_ := mustMerge $set (dict
  "RAGMESH_TLS_CERT_FILE" "/etc/ragmesh/tls/tls.crt"
  "RAGMESH_TLS_KEY_FILE" "/etc/ragmesh/tls/tls.key"
  "RAGMESH_TLS_CA_FILE" "/etc/ragmesh/tls/ca.crt") -}}
{{- end -}}
{{- end -}}
{{- if eq $c "gateway" -}}
{{- $_ := set $set "RAGMESH_REST_PORT" (include "ragmesh.port" "rest") -}}
{{- range $peer := list "retriever" "generator" "ingestor" -}}
{{- $port := include "ragmesh.port" $peer -}}
{{- range $variable, $suffix := dict "RAGMESH_%s_TARGET" "" "RAGMESH_%s_FALLBACK_TARGET" "ready" -}}
{{- $host := include "ragmesh.host" (dict "root" $.root "component" $peer "suffix" $suffix) -}}
{{- $_ := set $set (printf $variable (upper $peer)) (printf "dns:///%s:%s" $host $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (has $c (list "gateway" "embedded")) $v.tls.public.enabled -}}
{{- $_ := mustMerge $set (dict
  "RAGMESH_PUBLIC_TLS_CERT_FILE" "/etc/ragmesh/public-tls/tls.crt"
  "RAGMESH_PUBLIC_TLS_KEY_FILE" "/etc/ragmesh/public-tls/tls.key") -}}
{{- end -}}
{{- if has $c (list "gateway" "retriever" "ingestor" "migrate") -}}
{{- $_ := mustMerge $set (dict "RAGMESH_RECORDS_URL" $v.stores.records.url "RAGMESH_RECORDS_USER" $v.stores.records.user) -}}
{{- with $v.stores.records.database }}{{ $_ := set $set "RAGMESH_RECORDS_DATABASE" . }}{{ end -}}
{{- end -}}
{{- if has $c (list "retriever" "ingestor" "migrate") -}}
{{- $_ := mustMerge $set (dict
  "RAGMESH_VECTORS_URL" $v.stores.vectors.url
  "RAGMESH_VECTORS_MAX_LOADED" $v.stores.vectors.maxLoaded
  "RAGMESH_VECTORS_TIMEOUT_SECONDS" $v.stores.vectors.timeoutSeconds) -}}
{{- if not $v.secrets.keys.stateUrl }}{{ $_ := set $set "RAGMESH_STATE_URL" $v.stores.state.url }}{{ end -}}
{{- end -}}
{{- if and (eq $c "retriever") (not $v.secrets.keys.cacheUrl) }}{{ $_ := set $set "RAGMESH_CACHE_URL" $v.stores.cache.url }}{{ end -}}
{{- if has $c (list "ingestor" "migrate") -}}
{{- if $v.stores.blobs.volume.enabled -}}
{{- $_ := set $set "RAGMESH_BLOBS_URL" "file:/var/lib/ragmesh/blobs" -}}
{{- else -}}
{{- $_ := mustMerge $set (dict "RAGMESH_BLOBS_URL" $v.stores.blobs.url "RAGMESH_BLOBS_S3_REGION" $v.stores.blobs.s3Region) -}}
{{- with $v.stores.blobs.s3Endpoint }}{{ $_ := set $set "RAGMESH_BLOBS_S3_ENDPOINT" . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if has $c (list "retriever" "ingestor" "embedded") -}}
{{- $_ := set $set "RAGMESH_EMBEDDING_THREADS" $v.embedding.threads -}}
{{- with $v.embedding.url -}}
{{- $_ := mustMerge $set (dict
  "RAGMESH_EMBEDDING_URL" .
  "RAGMESH_EMBEDDING_NAME" $v.embedding.model
  "RAGMESH_EMBEDDING_DIMENSION" $v.embedding.dimension) -}}
{{- end -}}
{{- end -}}
{{- if and (has $c (list "generator" "embedded")) $v.model.url -}}
{{- $_ := mustMerge $set (dict
  "RAGMESH_MODEL_URL" $v.model.url
  "RAGMESH_MODEL_NAME" $v.model.name
  "RAGMESH_MODEL_TIMEOUT_SECONDS" $v.model.timeoutSeconds
  "RAGMESH_MODEL_STAND_IN" $v.model.standIn) -}}
{{- end -}}
{{- if eq $c "embedded" -}}
{{- $_ := mustMerge $set (dict
  "HOME" "/tmp"
  "RAGMESH_HOME" "/data/home"
  "RAGMESH_DRAIN_SECONDS" "0.2"
  "RAGMESH_GRACE_SECONDS" (include "ragmesh.embeddedGrace" .root)
  "RAGMESH_HOST" "0.0.0.0"
  "RAGMESH_REST_PORT" (include "ragmesh.port" "rest")
  "RAGMESH_GRPC_PORT" (include "ragmesh.port" "gateway")) -}}
{{- end -}}
{{- range $variable, $key := include "ragmesh.secretKeys" . | fromJson -}}
{{- $_ := set $set (printf "%s_FILE" $variable) (printf "/etc/ragmesh/secrets/%s" $key) -}}
{{- end -}}
{{- range $name, $value := mustMergeOverwrite $set (deepCopy .values.env) }}
{{- /* Numbers of a file are floats to Helm, which shows large ones with an exponent. */}}
{{- $whole := and (kindIs "float64" $value) (eq (toString (floor $value)) (toString $value)) }}
{{ $name }}: {{ ternary (int64 $value) $value $whole | toString | quote }}
{{- end -}}
{{- end -}}

{{/* The same as a container takes them. They are in the template of the Pods and in no ConfigMap, so that a Pod that an
upgrade did not come to starts again with what it was made with. */}}
{{- define "ragmesh.env" -}}
{{- range $name, $value := include "ragmesh.settings" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | replace "$(" "$$(" | quote }}
{{- end -}}
{{- end -}}

{{/* Volumes of a component: /tmp, its part of the Secret as files, certificates as folders, so that new ones arrive. */}}
{{- define "ragmesh.volumes" -}}
{{- $v := .root.Values -}}
{{- $secrets := include "ragmesh.secretKeys" . | fromJson -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .values.tmpSizeLimit }}
{{- if $secrets }}
- name: secrets
  secret:
    secretName: {{ $v.secrets.name }}
    defaultMode: 0440
    items:
      {{- range $key := values $secrets | uniq | sortAlpha }}
      - key: {{ $key }}
        path: {{ $key }}
      {{- end }}
{{- end }}
{{- if and $v.tls.mesh.enabled (has .component (list "gateway" "retriever" "generator" "ingestor")) }}
- name: tls
  secret:
    secretName: {{ ternary (printf "%s-%s-tls" (include "ragmesh.fullname" .root) .component) $v.tls.mesh.secretName $v.tls.mesh.certManager.enabled }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- if and $v.tls.public.enabled (has .component (list "gateway" "embedded")) }}
- name: public-tls
  secret:
    secretName: {{ ternary (printf "%s-public-tls" (include "ragmesh.fullname" .root)) $v.tls.public.secretName $v.tls.public.certManager.enabled }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}
{{- if and $v.stores.blobs.volume.enabled (has .component (list "ingestor" "migrate")) }}
- name: blobs
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-blobs" (include "ragmesh.fullname" .root)) $v.stores.blobs.volume.existingClaim }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where those are mounted. */}}
{{- define "ragmesh.volumeMounts" -}}
{{- $v := .root.Values -}}
- name: tmp
  mountPath: /tmp
{{- if include "ragmesh.secretKeys" . | fromJson }}
- name: secrets
  mountPath: /etc/ragmesh/secrets
  readOnly: true
{{- end }}
{{- if and $v.tls.mesh.enabled (has .component (list "gateway" "retriever" "generator" "ingestor")) }}
- name: tls
  mountPath: /etc/ragmesh/tls
  readOnly: true
{{- end }}
{{- if and $v.tls.public.enabled (has .component (list "gateway" "embedded")) }}
- name: public-tls
  mountPath: /etc/ragmesh/public-tls
  readOnly: true
{{- end }}
{{- if and $v.stores.blobs.volume.enabled (has .component (list "ingestor" "migrate")) }}
- name: blobs
  mountPath: /var/lib/ragmesh/blobs
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
