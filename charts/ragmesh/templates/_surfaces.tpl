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
{{- if and $v.ingress.grpc.enabled (not $v.ingress.grpc.tlsSecretName) -}}
{{- fail "ingress.grpc.tlsSecretName is empty, and Ingress controllers speak HTTP/2, hence gRPC, with TLS only: set it to a Secret with a certificate for ingress.grpc.host" -}}
{{- end -}}
{{- if $v.gatewayApi.enabled }}{{ include "ragmesh.validateRoutes" . }}{{ end -}}
{{- include "ragmesh.validateClients" . -}}
{{- if and $v.keda.enabled (not $v.keda.address) -}}
{{- fail "keda.address is empty: set it to host:port of the Redis for state, as KEDA reaches it" -}}
{{- end -}}
{{- end -}}

{{- define "ragmesh.validateRoutes" -}}
{{- $routes := .Values.gatewayApi -}}
{{- if not $routes.parentRefs -}}
{{- fail "gatewayApi.parentRefs is empty: name the Gateway that the routes belong to" -}}
{{- end -}}
{{- if not (and $routes.restHostnames $routes.grpcHostnames) -}}
{{- fail "gatewayApi.restHostnames and grpcHostnames: set both; a route without host names takes all of them, and a Gateway accepts only one of an HTTPRoute and a GRPCRoute that share a name" -}}
{{- end -}}
{{- range $rest := $routes.restHostnames -}}
{{- range $grpc := $routes.grpcHostnames -}}
{{- $inside := or (and (hasPrefix "*." $rest) (hasSuffix (trimPrefix "*" $rest) $grpc)) (and (hasPrefix "*." $grpc) (hasSuffix (trimPrefix "*" $grpc) $rest)) -}}
{{- if or (eq $rest $grpc) $inside -}}
{{- fail (printf "gatewayApi.restHostnames has %s and grpcHostnames %s, and a Gateway accepts only one of an HTTPRoute and a GRPCRoute that share a name: give gRPC a host name of its own" $rest $grpc) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tls.public.enabled (not $routes.backendTls.hostname) -}}
{{- fail "gatewayApi.backendTls.hostname is empty with tls.public.enabled: set it to a name in the gateway's certificate, which the Gateway then verifies, or tls.public.enabled to false and end TLS at the Gateway" -}}
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
