{{- define "platform.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: taxiway
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* What every pod's spec begins with; `user` is the uid and gid of its processes and its volumes. */}}
{{- define "platform.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false  # or MYSQL_PORT=tcp://… would mislead MySQL's own programs
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "platform.container" -}}
{{- $images := .root.Values.images }}
{{- $image := index $images .image }}
{{- $tag := $image.tag }}
{{- if and (not $tag) (eq .image "spark") }}{{ $tag = $images.localAws.tag }}{{ end }}
{{- $missing := printf "images.%s.tag is empty: name the tag that was built, for example --set-string images.%s.tag=0123456789ab" .image .image -}}
image: {{ printf "%s:%s" $image.repository (required $missing $tag) | quote }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* A claim for the default StorageClass. */}}
{{- define "platform.claim" -}}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: {{ . }}}}
{{- end }}

{{- define "platform.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels: {{- include "platform.labels" . | nindent 4 }}
spec:
  selector: {{- include "platform.selector" . | nindent 4 }}
  ports:
    - {name: {{ .name }}, port: {{ .port }}, targetPort: {{ .name }}, protocol: TCP}
{{- end }}

{{/* A selector of Airflow's pods by their `component`, or of ours by name: `pods` in place of `from`. */}}
{{- define "platform.components" -}}
{{- if .pods -}}
matchLabels:
  app.kubernetes.io/instance: {{ .root.Release.Name }}
matchExpressions:
  - key: app.kubernetes.io/name
    operator: In
    values:
      {{- range .pods }}
      - {{ . }}
      {{- end }}
{{- else -}}
matchLabels:
  tier: airflow
  release: {{ .root.Values.airflow.release }}
matchExpressions:
  - key: component
    operator: In
    values:
      {{- range .from }}
      - {{ . }}
      {{- end }}
{{- end }}
{{- end }}
