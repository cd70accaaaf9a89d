{{/* Ports: the same in every Pod, so that a policy or a dashboard needs to know one number each. */}}
{{- define "ragmesh.port" -}}
{{- get (dict "gateway" "9090" "retriever" "9091" "generator" "9092" "ingestor" "9093" "rest" "8080" "admin" "9464" "health" "9465") . -}}
{{- end -}}

{{/* Seconds that a Pod needs to stop: preStop + drain + grace + sending the last spans + 5. Of a component's values. */}}
{{- define "ragmesh.drainBudget" -}}
{{- add .drain.preStopSeconds .drain.drainSeconds .drain.graceSeconds 2 5 -}}
{{- end -}}

{{/* The security context of every Pod: Pod Security "restricted", and no user below 10000. */}}
{{- define "ragmesh.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The security context of every container. */}}
{{- define "ragmesh.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What every Pod begins with, of (dict "root" $ "component" NAME "values" VALUES). */}}
{{- define "ragmesh.podBasics" -}}
serviceAccountName: {{ include "ragmesh.fullname" .root }}-{{ .component }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "ragmesh.podSecurityContext" . | nindent 2 }}
{{- with include "ragmesh.priorityClassName" . }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.dnsOptions }}
dnsConfig:
  options:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A gRPC probe on the health port, of (dict "probe" VALUES "service" NAME). */}}
{{- define "ragmesh.grpcProbe" -}}
grpc:
  port: {{ include "ragmesh.port" "health" }}
  service: {{ .service | quote }}
periodSeconds: {{ .probe.periodSeconds }}
failureThreshold: {{ .probe.failureThreshold }}
timeoutSeconds: {{ .probe.timeoutSeconds }}
{{- end -}}

{{/* Where the Pods of a component go, of (dict "root" $ "component" NAME "values" VALUES). */}}
{{- define "ragmesh.placement" -}}
{{- $labels := include "ragmesh.selectorLabels" . -}}
{{- if .values.affinity }}
affinity:
  {{- toYaml .values.affinity | nindent 2 }}
{{- else if eq .values.antiAffinity "required" }}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- $labels | nindent 12 }}
{{- else if eq .values.antiAffinity "preferred" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- $labels | nindent 14 }}
{{- end }}
{{- with .values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* How many Pods a Deployment says, of (dict "root" $ "component" NAME "values" VALUES); empty where a scaler decides.

Helm takes out of the live object what the manifest before said and the new one does not, and Kubernetes takes no number
for 1. So what once said a number goes on saying one when a scaler is turned on: that of the Pods that run. An annotation
of the live object tells that it did. One that never did says none, so that neither an upgrade nor a rollback comes
between it and its scaler. */}}
{{- define "ragmesh.replicas" -}}
{{- if or .values.autoscaling.enabled (and (eq .component "ingestor") .root.Values.keda.enabled) -}}
{{- $name := printf "%s-%s" (include "ragmesh.fullname" .root) .component -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace $name -}}
{{- if dig "metadata" "annotations" "ragmesh/replicas" "" $live -}}
{{- max (int (dig "spec" "replicas" 1 $live)) (int .values.autoscaling.minReplicas) -}}
{{- end -}}
{{- else -}}
{{- .values.replicas -}}
{{- end -}}
{{- end -}}

{{/* The Deployment of one service, of (dict "root" $ "component" NAME "values" VALUES). */}}
{{- define "ragmesh.deployment" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $replicas := include "ragmesh.replicas" . -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "ragmesh.metadata" . | nindent 2 }}
  {{- if $replicas }}
  annotations:
    ragmesh/replicas: written  # see ragmesh.replicas
  {{- end }}
spec:
  {{- with $replicas }}
  replicas: {{ . }}
  {{- end }}
  minReadySeconds: {{ $values.minReadySeconds }}
  progressDeadlineSeconds: {{ $values.progressDeadlineSeconds }}
  revisionHistoryLimit: {{ $values.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "ragmesh.selectorLabels" . | nindent 6 }}
  strategy:
    {{- if and (eq .component "ingestor") (include "ragmesh.blobsOnOneNode" $root) }}
    type: Recreate  # a Pod on another node would wait for the volume for ever
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "ragmesh.podLabels" . | nindent 8 }}
      annotations:
        {{- include "ragmesh.podAnnotations" . | nindent 8 }}
    spec:
      {{- include "ragmesh.podBasics" . | nindent 6 }}
      {{- with include "ragmesh.placement" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      restartPolicy: Always
      terminationGracePeriodSeconds: {{ default (include "ragmesh.drainBudget" $values) $values.terminationGracePeriodSeconds }}
      containers:
        - name: {{ .component }}
          image: {{ include "ragmesh.image" (dict "root" $root "image" $values.image "repository" (printf "ragmesh-%s" .component)) }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          env:
            - name: RAGMESH_INSTANCE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            {{- include "ragmesh.env" . | trim | nindent 12 }}
          ports:
            - name: grpc
              containerPort: {{ include "ragmesh.port" .component }}
            {{- if eq .component "gateway" }}
            - name: rest
              containerPort: {{ include "ragmesh.port" "rest" }}
            {{- end }}
            - name: admin
              containerPort: {{ include "ragmesh.port" "admin" }}
            - name: health
              containerPort: {{ include "ragmesh.port" "health" }}
          startupProbe:
            {{- include "ragmesh.grpcProbe" (dict "probe" $values.probes.startup "service" "") | nindent 12 }}
          readinessProbe:
            {{- include "ragmesh.grpcProbe" (dict "probe" $values.probes.readiness "service" .component) | nindent 12 }}
          livenessProbe:
            {{- include "ragmesh.grpcProbe" (dict "probe" $values.probes.liveness "service" "") | nindent 12 }}
          {{- with $values.drain.preStopSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ . }}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "ragmesh.securityContext" . | nindent 12 }}
          volumeMounts:
            {{- include "ragmesh.volumeMounts" . | nindent 12 }}
      volumes:
        {{- include "ragmesh.volumes" . | nindent 8 }}
{{- end -}}
