{{/* Refuses ways to the public API, and scalers, that cannot work; of what else there is: _validations.tpl. */}}
{{- define "ragmesh.validateSurfaces" -}}
{{- $v := .Values -}}
{{- if and $v.tls.public.enabled (not (or $v.tls.public.secretName $v.tls.public.certManager.enabled)) -}}
{{- fail "tls.public.enabled is true without a certificate: set tls.public.secretName to a Secret with tls.crt and tls.key, or tls.public.certManager.enabled to true" -}}
{{- end -}}
{{- if and $v.tls.public.secretName $v.tls.public.certManager.enabled -}}
{{- fail "tls.public.secretName and tls.public.certManager.enabled are both set: leave the name empty, or set the other to false" -}}
{{- end -}}
{{- if and $v.tls.public.enabled $v.tls.public.certManager.enabled (not (and $v.tls.public.certManager.issuerRef.name $v.tls.public.certManager.dnsNames)) -}}
{{- fail "tls.public.certManager: set issuerRef.name and dnsNames, the names that clients use" -}}
{{- end -}}
{{- range $surface := list "rest" "grpc" -}}
{{- if and (get $v.ingress $surface).enabled (not (get $v.ingress $surface).host) -}}
{{- fail (printf "ingress.%s.host is empty: set it to the host name of this Ingress" $surface) -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.rest.enabled $v.ingress.grpc.enabled (eq $v.ingress.rest.host $v.ingress.grpc.host) -}}
{{- fail (printf "ingress.rest.host and ingress.grpc.host are both %s: their annotations differ, so give gRPC a host name of its own" $v.ingress.grpc.host) -}}
{{- end -}}
{{- if and $v.gatewayApi.enabled (not $v.gatewayApi.parentRefs) -}}
{{- fail "gatewayApi.parentRefs is empty: name the Gateway that the routes belong to" -}}
{{- end -}}
{{- include "ragmesh.validateClients" . -}}
{{- if and $v.keda.enabled (not $v.keda.address) -}}
{{- fail "keda.address is empty: set it to host:port of the Redis for state, as KEDA reaches it" -}}
{{- end -}}
{{- end -}}

{{/* Whoever brings calls from outside must be let in. */}}
{{- define "ragmesh.validateClients" -}}
{{- $v := .Values -}}
{{- $ways := list -}}
{{- if ne $v.service.type "ClusterIP" }}{{ $ways = append $ways (printf "service.type %s" $v.service.type) }}{{ end -}}
{{- range $surface := list "rest" "grpc" -}}
{{- if (get $v.ingress $surface).enabled }}{{ $ways = append $ways (printf "ingress.%s" $surface) }}{{ end -}}
{{- end -}}
{{- if $v.gatewayApi.enabled }}{{ $ways = append $ways "gatewayApi" }}{{ end -}}
{{- if and $ways $v.networkPolicy.enabled (eq (toJson $v.networkPolicy.clients) `[{"podSelector":{}}]`) -}}
{{- fail (printf "networkPolicy.clients is still the release's own namespace, so that nothing would come through %s: name who calls, as {ipBlock: {cidr: 10.0.0.0/8}} (a load balancer: its clients, or the nodes with externalTrafficPolicy Cluster) or {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}} (a controller, a Gateway)" (join ", " $ways)) -}}
{{- end -}}
{{- end -}}
