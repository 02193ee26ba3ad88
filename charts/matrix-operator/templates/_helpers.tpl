{{/* The name of everything: there is one operator in a namespace, since all in it share a Lease of this name. Helm itself refuses a
second release that would work on the same objects. */}}
{{- define "matrix.name" -}}
matrix-operator
{{- end }}

{{- define "matrix.releaseLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the operator's own pods, and no others of the release. */}}
{{- define "matrix.selectorLabels" -}}
{{ include "matrix.releaseLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "matrix.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "matrix.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: matrix
{{- end }}

{{- define "matrix.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "matrix.name" .) }}
{{- end }}

{{/* A reference to an image, from repository, tag and digest. */}}
{{- define "matrix.reference" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "matrix.image" -}}
{{- $image := .Values.image }}
{{- include "matrix.reference" (dict "repository" $image.repository "tag" ($image.tag | default .Chart.AppVersion) "digest" $image.digest) }}
{{- end }}

{{/* The image of clusters' nodes: the operator's own, unless something else is said of it. */}}
{{- define "matrix.nodeImage" -}}
{{- $own := .Values.image }}
{{- $image := .Values.clusters.image }}
{{- $tag := $image.tag | default $own.tag | default .Chart.AppVersion }}
{{- $digest := ternary $image.digest $own.digest (or $image.repository $image.tag $image.digest | empty | not) }}
{{- include "matrix.reference" (dict "repository" ($image.repository | default $own.repository) "tag" $tag "digest" $digest) }}
{{- end }}

{{/* The file that the operator reads at its start. */}}
{{- define "matrix.config" -}}
{{- $clusters := .Values.clusters }}
{{- $config := dict "image" (include "matrix.nodeImage" .) "imagePullPolicy" ($clusters.image.pullPolicy | default .Values.image.pullPolicy) }}
{{- range $name := list "rayImages" "imagePullSecrets" "gpuResource" "accelerators" "modelCache" "storage" }}
{{- with get $clusters $name }}{{ $_ := set $config $name . }}{{ end }}
{{- end }}
{{- $_ := set $config "runAsUser" (int $clusters.runAsUser) }}
{{- $_ := set $config "drainSeconds" (int $clusters.drainSeconds) }}
{{- with .Values.hub }}
{{- if .enabled }}
{{- $files := dict "certificate" "/etc/matrix/hub/tls.crt" "key" "/etc/matrix/hub/tls.key" }}
{{- $_ := set $config "hub" (merge (dict "bindAddress" $.Values.bindAddress "port" (int .port) "sites" .sites) $files) }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Pod Security Standard "restricted", for each pod of the chart. */}}
{{- define "matrix.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "matrix.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where a pod of the chart may run. */}}
{{- define "matrix.placement" -}}
{{- range $name := list "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $.Values $name }}
{{ dict $name . | toYaml }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a container needs where the root file system can't be written to. */}}
{{- define "matrix.homeEnv" -}}
- name: HOME
  value: /tmp
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
{{- end }}

{{/* A role and its binding. `kind`, `name`, `namespace` (none for ClusterRoles), `rules`, `account`, `annotations`; `root` is the top. */}}
{{- define "matrix.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
{{ include "matrix.roleMetadata" . }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
{{ include "matrix.roleMetadata" . }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{- define "matrix.roleMetadata" -}}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "matrix.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "matrix.hubSecret" -}}
{{ .Values.hub.tls.secretName | default "matrix-operator-hub-tls" }}
{{- end }}
