{{/* Refuses values that cannot work; each sentence names the value and the cure. */}}
{{- define "ragmesh.validate" -}}
{{- $v := .Values -}}
{{- include "ragmesh.validateNames" . -}}
{{- include "ragmesh.validateAddresses" . -}}
{{- if $v.embedded.enabled -}}
{{- include "ragmesh.validateEmbedded" . -}}
{{- else -}}
{{- include "ragmesh.validateStores" . -}}
{{- include "ragmesh.validateSecrets" . -}}
{{- range $name := list "gateway" "retriever" "generator" "ingestor" -}}
{{- $values := mustMergeOverwrite (deepCopy $v.default) (deepCopy (get $v $name)) -}}
{{- include "ragmesh.validateComponent" (dict "root" $ "component" $name "values" $values) -}}
{{- end -}}
{{- end -}}
{{- include "ragmesh.validateSurfaces" . -}}
{{- include "ragmesh.validateModels" . -}}
{{- include "ragmesh.validateEgress" . -}}
{{- if eq (int $v.service.grpcPort) (int $v.service.restPort) -}}
{{- fail (printf "service.grpcPort and service.restPort are both %d: give each a port of its own" (int $v.service.grpcPort)) -}}
{{- end -}}
{{- if $v.default.image.digest -}}
{{- fail "default.image.digest is set, and each component has another image: set gateway.image.digest and so on" -}}
{{- end -}}
{{- if $v.default.image.repository -}}
{{- fail "default.image.repository is set, and each component has another image: set default.image.registry for what they have in common, or gateway.image.repository and so on" -}}
{{- end -}}
{{- end -}}

{{/* Names that a Service can have, and labels by which the chart alone finds its objects. */}}
{{- define "ragmesh.validateNames" -}}
{{- $v := .Values -}}
{{- $name := include "ragmesh.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "objects would be named %s-gateway and so on, which no Service can be: set fullnameOverride to a name that begins with a letter and has small letters, digits and dashes" $name) -}}
{{- end -}}
{{- $labels := dict "commonLabels" $v.commonLabels "metrics.serviceMonitor.labels" $v.metrics.serviceMonitor.labels "metrics.ruleLabels" $v.metrics.ruleLabels "metrics.dashboardLabels" $v.metrics.dashboardLabels -}}
{{- range $component := list "default" "gateway" "retriever" "generator" "ingestor" -}}
{{- $_ := set $labels (printf "%s.podLabels" $component) (get (get $v $component) "podLabels" | default dict) -}}
{{- end -}}
{{- range $where, $map := $labels -}}
{{- range $key, $_ := $map -}}
{{- if has $key (include "ragmesh.ownLabels" $ | fromJsonArray) -}}
{{- fail (printf "%s has %s, which the chart sets and finds its objects by: take it out, or give the label another name" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ragmesh.validateEmbedded" -}}
{{- $v := .Values -}}
{{- if ne (int $v.embedded.replicas) 1 -}}
{{- fail (printf "embedded.replicas is %d: the embedded stores are files of one Pod, so it must be 1; for more, name stores of your own (stores.*) and leave values-embedded.yaml out" (int $v.embedded.replicas)) -}}
{{- end -}}
{{- range $name := list "default" "gateway" "retriever" "generator" "ingestor" -}}
{{- $values := get $v $name -}}
{{- if and (ne $name "default") (hasKey $values "replicas") (ne (int $values.replicas) 1) -}}
{{- fail (printf "%s.replicas is %d with embedded.enabled: everything runs in one Pod; leave it out, or set embedded.enabled to false and name stores of your own" $name (int $values.replicas)) -}}
{{- end -}}
{{- if and $values.autoscaling $values.autoscaling.enabled -}}
{{- fail (printf "%s.autoscaling.enabled is true with embedded.enabled: one Pod with files cannot be scaled; set it to false, or embedded.enabled to false and name stores of your own" $name) -}}
{{- end -}}
{{- end -}}
{{- if ne (int $v.default.replicas) 1 -}}
{{- fail (printf "default.replicas is %d with embedded.enabled: the embedded stores are files of one Pod; set it to 1, or embedded.enabled to false and name stores of your own" (int $v.default.replicas)) -}}
{{- end -}}
{{- $budget := add $v.default.drain.preStopSeconds 40 40 15 5 | int -}}
{{- if lt (int $v.embedded.terminationGracePeriodSeconds) $budget -}}
{{- fail (printf "embedded.terminationGracePeriodSeconds is %d, and its processes stop one after the other, which may need %d (preStop %d + gateway 40 + services 40 + stores 15 + 5): set it to %d or more" (int $v.embedded.terminationGracePeriodSeconds) $budget (int $v.default.drain.preStopSeconds) $budget) -}}
{{- end -}}
{{- if $v.keda.enabled -}}
{{- fail "keda.enabled is true with embedded.enabled: one Pod with files cannot be scaled; set keda.enabled to false" -}}
{{- end -}}
{{- if $v.externalSecrets.enabled -}}{{- include "ragmesh.validateExternalSecret" . -}}{{- end -}}
{{- include "ragmesh.validateIgnored" . -}}
{{- include "ragmesh.validateEnv" (dict "root" . "component" "embedded" "values" (mustMergeOverwrite (deepCopy $v.default) (deepCopy $v.embedded))) -}}
{{- end -}}

{{- define "ragmesh.validateStores" -}}
{{- $s := .Values.stores -}}
{{- $keys := .Values.secrets.keys -}}
{{- $cure := "or take values-embedded.yaml, which brings its own stores" -}}
{{- if not $s.records.url -}}
{{- fail (printf "stores.records.url is empty: set it to your Neo4j, as bolt://host:7687, %s" $cure) -}}
{{- end -}}
{{- if hasPrefix "sqlite:" $s.records.url -}}
{{- fail (printf "stores.records.url is %s: a file of one Pod cannot be shared by several; set it to a Neo4j, as bolt://host:7687, %s" $s.records.url $cure) -}}
{{- end -}}
{{- if not (regexMatch "^bolt(\\+ssc|\\+s)?://" $s.records.url) -}}
{{- fail (printf "stores.records.url is %s: set it to a Neo4j, as bolt://host:7687, or bolt+s://host:7687 with TLS" $s.records.url) -}}
{{- end -}}
{{- if contains "@" $s.records.url -}}
{{- fail "stores.records.url holds a user: set stores.records.user, and put the password into the Secret (secrets.keys.recordsPassword)" -}}
{{- end -}}
{{- if not $s.vectors.url -}}
{{- fail (printf "stores.vectors.url is empty: set it to your Milvus, as http://host:19530, %s" $cure) -}}
{{- end -}}
{{- if not (regexMatch "^(https?://)?[^/]+:[0-9]+$" $s.vectors.url) -}}
{{- fail (printf "stores.vectors.url is %s: name the port, and nothing after it, as http://host:19530, or https://host:443 of a Milvus behind HTTPS; without a port its client takes 443" $s.vectors.url) -}}
{{- end -}}
{{- range $name, $key := dict "state" "stateUrl" "cache" "cacheUrl" -}}
{{- $url := (get $s $name).url -}}
{{- if not (or $url (get $keys $key)) -}}
{{- fail (printf "stores.%s.url is empty: set it to your Redis, as redis://host:6379/0, or secrets.keys.%s to the key of the Secret that holds it, %s" $name $key $cure) -}}
{{- end -}}
{{- if and $url (get $keys $key) -}}
{{- fail (printf "stores.%s.url and secrets.keys.%s are both set: leave one of them empty" $name $key) -}}
{{- end -}}
{{- if contains "@" $url -}}
{{- fail (printf "stores.%s.url holds a user or password: put the whole address into the Secret and set secrets.keys.%s to its key" $name $key) -}}
{{- end -}}
{{- end -}}
{{- if and $s.state.url (eq $s.state.url $s.cache.url) -}}
{{- fail "stores.cache.url is the same as stores.state.url: a full cache would stop the queue; set it to another Redis, or at least another database of one without eviction" -}}
{{- end -}}
{{- if and $s.blobs.url $s.blobs.volume.enabled -}}
{{- fail "stores.blobs.url is set and stores.blobs.volume.enabled is true: leave the URL empty, or set the other to false" -}}
{{- end -}}
{{- if and $s.blobs.volume.enabled (has "ReadWriteOncePod" $s.blobs.volume.accessModes) .Values.migrations.enabled -}}
{{- fail "stores.blobs.volume.accessModes has ReadWriteOncePod, and the Job that migrates needs the volume while an ingestor has it: take ReadWriteOnce, or set migrations.enabled to false" -}}
{{- end -}}
{{- if not (or $s.blobs.url $s.blobs.volume.enabled) -}}
{{- fail (printf "stores.blobs.url is empty: set it to your bucket, as s3://bucket/prefix, or stores.blobs.volume.enabled to true, %s" $cure) -}}
{{- end -}}
{{- if hasPrefix "file:" $s.blobs.url -}}
{{- fail (printf "stores.blobs.url is %s: leave it empty and set stores.blobs.volume.enabled to true, so that all ingestors share the folder" $s.blobs.url) -}}
{{- end -}}
{{- end -}}

{{- define "ragmesh.validateSecrets" -}}
{{- $v := .Values -}}
{{- if not $v.secrets.name -}}
{{- fail "secrets.name is empty: make a Secret with the key identity-keys and name it here (docs/kubernetes.md, The Secret), or take values-embedded.yaml, which needs none" -}}
{{- end -}}
{{- if not $v.secrets.keys.identityKeys -}}
{{- fail "secrets.keys.identityKeys is empty: set it to the key of the Secret that holds the signing keys; no service starts without them" -}}
{{- end -}}
{{- if ne (empty $v.secrets.keys.s3AccessKey) (empty $v.secrets.keys.s3SecretKey) -}}
{{- fail "secrets.keys.s3AccessKey and secrets.keys.s3SecretKey: set both or neither" -}}
{{- end -}}
{{- if $v.externalSecrets.enabled -}}{{- include "ragmesh.validateExternalSecret" . -}}{{- end -}}
{{- if and $v.tls.mesh.enabled (not (or $v.tls.mesh.secretName $v.tls.mesh.certManager.enabled)) -}}
{{- fail "tls.mesh.enabled is true without a certificate: set tls.mesh.secretName to a Secret with tls.crt, tls.key and ca.crt, or tls.mesh.certManager.enabled to true" -}}
{{- end -}}
{{- if and $v.tls.mesh.secretName $v.tls.mesh.certManager.enabled -}}
{{- fail "tls.mesh.secretName and tls.mesh.certManager.enabled are both set: leave the name empty, or set the other to false" -}}
{{- end -}}
{{- if and $v.tls.mesh.enabled $v.tls.mesh.certManager.enabled (not $v.tls.mesh.certManager.issuerRef.name) -}}
{{- fail "tls.mesh.certManager.issuerRef.name is empty: set it to an issuer that has a CA" -}}
{{- end -}}
{{- end -}}

{{- define "ragmesh.validateExternalSecret" -}}
{{- $v := .Values -}}
{{- if not (and $v.secrets.name $v.externalSecrets.store.name $v.externalSecrets.remoteKey) -}}
{{- fail "externalSecrets.enabled is true: set secrets.name to the Secret that it makes, externalSecrets.store.name to the store and externalSecrets.remoteKey to the entry there" -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" $ "component" NAME "values" VALUES). */}}
{{- define "ragmesh.validateComponent" -}}
{{- $values := .values -}}
{{- $budget := include "ragmesh.drainBudget" $values | int -}}
{{- $grace := $values.terminationGracePeriodSeconds -}}
{{- if and $grace (lt (int $grace) $budget) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d, and its drain needs %d (preStop %d + drain %d + grace %d + 2 to send spans + 5): set it to %d or more, leave it out, or lower %s.drain" .component (int $grace) $budget (int $values.drain.preStopSeconds) (int $values.drain.drainSeconds) (int $values.drain.graceSeconds) $budget .component) -}}
{{- end -}}
{{- $scaling := $values.autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d and maxReplicas %d: raise maxReplicas" .component (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and $scaling.enabled (not (dig "requests" "cpu" "" $values.resources)) -}}
{{- fail (printf "%s.resources.requests.cpu is empty, and the HorizontalPodAutoscaler counts in shares of it: set it, or autoscaling.enabled to false" .component) -}}
{{- end -}}
{{- $volume := .root.Values.stores.blobs.volume -}}
{{- $several := or $scaling.enabled .root.Values.keda.enabled (gt (int $values.replicas) 1) -}}
{{- if and (eq .component "ingestor") (include "ragmesh.blobsOnOneNode" .root) $several -}}
{{- fail "stores.blobs.volume.accessModes has no ReadWriteMany, and there are several ingestors: use a StorageClass that can, stores.blobs.url, or one ingestor (ingestor.replicas 1, ingestor.autoscaling.enabled false)" -}}
{{- end -}}
{{- include "ragmesh.validateEnv" . -}}
{{- end -}}

{{/* No variable that the chart sets itself, and none that no program knows, of the same dict. */}}
{{- define "ragmesh.validateEnv" -}}
{{- $plain := dict "drain" .values.drain "env" dict -}}
{{- $known := .root.Files.Get "files/settings.txt" | splitList "\n" -}}
{{- $managed := include "ragmesh.settings" (dict "root" .root "component" .component "values" $plain) | fromYaml -}}
{{- range $name, $_ := .values.env -}}
{{- if or (hasKey $managed $name) (eq $name "RAGMESH_INSTANCE") -}}
{{- fail (printf "%s.env.%s is set by the chart: use the value that it comes from, and take it out of env" $.component $name) -}}
{{- end -}}
{{- if and (hasPrefix "RAGMESH_" $name) (not (has $name $known)) -}}
{{- fail (printf "%s.env.%s is a setting of no program: look for its name in docs/settings.md, or take it out" $.component $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* First, so that no other sentence repeats what should not be there. */}}
{{- define "ragmesh.validateAddresses" -}}
{{- $v := .Values -}}
{{- range $name, $rule := dict "stores.vectors.url" (list $v.stores.vectors.url "secrets.keys.vectorsToken") "stores.blobs.url" (list $v.stores.blobs.url "secrets.keys.s3AccessKey and s3SecretKey") "stores.blobs.s3Endpoint" (list $v.stores.blobs.s3Endpoint "secrets.keys.s3AccessKey and s3SecretKey") "embedding.url" (list $v.embedding.url "secrets.keys.embeddingKey") "model.url" (list $v.model.url "secrets.keys.modelKey") -}}
{{- if regexMatch "^([a-z0-9]+://)?[^/]*@" (first $rule) -}}
{{- fail (printf "%s holds a user or password, which anybody could read in the Deployment: take it out, and put it into the Secret (%s)" $name (last $rule)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ragmesh.validateModels" -}}
{{- $v := .Values -}}
{{- if and $v.embedding.url (not $v.embedding.model) -}}
{{- fail "embedding.model is empty: name the model of the API at embedding.url" -}}
{{- end -}}
{{- if and $v.model.url (not $v.model.name) -}}
{{- fail "model.name is empty: name the model of the API at model.url" -}}
{{- end -}}
{{- if and $v.model.url (not $v.embedded.enabled) -}}
{{- range $name := list "gateway" "generator" -}}
{{- $values := mustMergeOverwrite (deepCopy $v.default) (deepCopy (get $v $name)) -}}
{{- if lt (int $values.drain.graceSeconds) (int $v.model.timeoutSeconds) -}}
{{- fail (printf "%s.drain.graceSeconds is %d, and an answer may take model.timeoutSeconds %d, so that a restart would cut it: raise the first or lower the second" $name (int $values.drain.graceSeconds) (int $v.model.timeoutSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
