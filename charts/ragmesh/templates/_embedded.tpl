{{/* Seconds that calls in flight get when the embedded Pod stops. Its supervisor kills a process after 40 s, and 5 of
those are for what comes before and after: the drain, the last spans. */}}
{{- define "ragmesh.embeddedGrace" -}}35{{- end -}}

{{/* Refuses, with the embedded Pod, values that it could not honour. What is as in values.yaml passes, so these are
repeated here; embedded-values.yaml in ci would be refused if they were not the same. Replicas and scaling have refusals
of their own. */}}
{{- define "ragmesh.validateIgnored" -}}
{{- $v := .Values -}}
{{- $cure := "take it out, or set embedded.enabled to false and name stores of your own" -}}
{{- $services := dict
  "gateway" `{"drain":{"graceSeconds":40},"resources":{"requests":{"cpu":"250m"}}}`
  "retriever" `{"resources":{"limits":{"cpu":"2","memory":"1Gi"},"requests":{"cpu":"500m","memory":"512Mi"}}}`
  "generator" `{"drain":{"graceSeconds":35}}`
  "ingestor" `{"drain":{"graceSeconds":30},"resources":{"limits":{"cpu":"2","ephemeral-storage":"2Gi","memory":"2Gi"},"requests":{"cpu":"500m","ephemeral-storage":"256Mi","memory":"768Mi"}},"tmpSizeLimit":"1Gi"}` -}}
{{- range $name, $shipped := $services -}}
{{- if ne (toJson (omit (get $v $name) "replicas" "autoscaling")) $shipped -}}
{{- fail (printf "%s has values of its own with embedded.enabled, whose one Pod takes only those of embedded and default: %s" $name $cure) -}}
{{- end -}}
{{- end -}}
{{- $stores := dict
  "records" `{"database":"","url":"","user":"neo4j"}`
  "vectors" `{"maxLoaded":200,"timeoutSeconds":5,"url":""}`
  "state" `{"url":""}`
  "cache" `{"url":""}`
  "blobs" `{"s3Endpoint":"","s3Region":"us-east-1","url":"","volume":{"accessModes":["ReadWriteMany"],"enabled":false,"existingClaim":"","size":"20Gi","storageClassName":""}}` -}}
{{- range $name, $shipped := $stores -}}
{{- if ne (toJson (get $v.stores $name)) $shipped -}}
{{- fail (printf "stores.%s has values with embedded.enabled, which brings its own stores: %s" $name $cure) -}}
{{- end -}}
{{- end -}}
{{- if $v.tls.mesh.enabled -}}
{{- fail "tls.mesh.enabled is true with embedded.enabled, whose services talk within one Pod only: set it to false" -}}
{{- end -}}
{{- $grace := include "ragmesh.embeddedGrace" . -}}
{{- if ne (toJson (list $v.default.drain.drainSeconds $v.default.drain.graceSeconds)) "[8,20]" -}}
{{- fail (printf "default.drain.drainSeconds and graceSeconds say nothing with embedded.enabled, whose processes get %s s because its supervisor waits no longer: leave both out" $grace) -}}
{{- end -}}
{{- range $name := list "RAGMESH_DRAIN_SECONDS" "RAGMESH_GRACE_SECONDS" -}}
{{- if or (hasKey $v.embedded.env $name) (hasKey $v.default.env $name) -}}
{{- fail (printf "embedded.env.%s: the embedded Pod's processes get %s s because its supervisor waits no longer: take it out" $name $grace) -}}
{{- end -}}
{{- end -}}
{{- if and $v.model.url (gt (float64 $v.model.timeoutSeconds) (float64 $grace)) -}}
{{- fail (printf "model.timeoutSeconds is %s, and a restart of the embedded Pod leaves an answer %s s: set it to %s or less, or embedded.enabled to false and name stores of your own" (toString $v.model.timeoutSeconds) $grace $grace) -}}
{{- end -}}
{{- end -}}
