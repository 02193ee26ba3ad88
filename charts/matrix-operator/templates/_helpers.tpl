{{/* The name of everything. */}}
{{- define "matrix.name" -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "matrix.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "matrix.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "matrix.selectorLabels" . }}
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
{{- range $name := list "imagePullSecrets" "gpuResource" "accelerators" }}
{{- with get $clusters $name }}{{ $_ := set $config $name . }}{{ end }}
{{- end }}
{{- $_ := set $config "runAsUser" (int $clusters.runAsUser) }}
{{- $_ := set $config "drainSeconds" (int $clusters.drainSeconds) }}
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
