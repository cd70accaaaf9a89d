{{/* Parts of objects that more than one template makes. */}}

{{- define "ragmesh.claim" -}}
accessModes:
  {{- toYaml .accessModes | nindent 2 }}
{{- with .storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}

{{/* Whether originals are in a volume that one node at a time can have. Empty: no. */}}
{{- define "ragmesh.blobsOnOneNode" -}}
{{- $volume := .Values.stores.blobs.volume -}}
{{- if and $volume.enabled (not (has "ReadWriteMany" $volume.accessModes)) }}yes{{ end -}}
{{- end -}}

{{- define "ragmesh.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: {{ .scaleUp.percent }}
      periodSeconds: {{ .scaleUp.periodSeconds }}
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDown.stabilizationWindowSeconds }}
  policies:
    - type: Pods
      value: {{ .scaleDown.pods }}
      periodSeconds: {{ .scaleDown.periodSeconds }}
{{- end -}}
