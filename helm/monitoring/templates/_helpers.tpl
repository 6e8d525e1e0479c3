{{- define "monitoring.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: taxiway
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "monitoring.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "monitoring.component" -}}
tier: airflow
release: {{ .root.Values.airflow.release }}
component: {{ .component }}
{{- end }}

{{/* What every pod's spec begins with; `user` is the uid and gid of its processes and its volumes. */}}
{{- define "monitoring.pod" -}}
enableServiceLinks: false
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

{{- define "monitoring.container" -}}
{{- $image := index .root.Values.images .image }}
image: {{ printf "%s:%s" $image.repository $image.tag | quote }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Probes of a path, with long limits for the start and before a restart. */}}
{{- define "monitoring.probes" -}}
startupProbe:
  httpGet: {path: {{ .ready }}, port: {{ .port }}}
  periodSeconds: 3
  timeoutSeconds: 5
  failureThreshold: 100
readinessProbe:
  httpGet: {path: {{ .ready }}, port: {{ .port }}}
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: {{ .alive }}, port: {{ .port }}}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: 5
{{- end }}

{{- define "monitoring.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels: {{- include "monitoring.labels" . | nindent 4 }}
spec:
  selector: {{- include "monitoring.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ .port }}, targetPort: http, protocol: TCP}
{{- end }}

{{/* The groups of a rule file as YAML: without the alerts that are not wanted, for this namespace, with whole links. */}}
{{- define "monitoring.groups" -}}
{{- $values := .root.Values }}
{{- $ours := printf "namespace=%q" .root.Release.Namespace }}
{{- $groups := list }}
{{- range $group := (.root.Files.Get .path | fromYaml).groups }}
{{- $rules := list }}
{{- range $rule := $group.rules }}
{{- if not (has (default "" $rule.alert) $values.rules.without) }}
{{- $_ := set $rule "expr" (replace "namespace=\"taxiway\"" $ours $rule.expr) }}
{{- if and $rule.alert $values.runbooks }}
{{- $link := printf "%s/%s.md" (trimSuffix "/" $values.runbooks) $rule.alert }}
{{- $_ := set $rule.annotations "runbook_url" $link }}
{{- end }}
{{- $rules = append $rules $rule }}
{{- end }}
{{- end }}
{{- if $rules }}
{{- $groups = append $groups (set $group "rules" $rules) }}
{{- end }}
{{- end }}
{{- toYaml (dict "groups" $groups) }}
{{- end }}

{{/* rules.without must name alerts, or a misspelt one would stay enabled. */}}
{{- define "monitoring.check" -}}
{{- $known := list }}
{{- range $path, $_ := .Files.Glob "rules/*.yaml" }}
{{- range ($.Files.Get $path | fromYaml).groups }}
{{- range .rules }}
{{- with .alert }}{{ $known = append $known . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.rules.without }}
{{- if not (has . $known) }}
{{- fail (printf "rules.without names %q, which is not an alert here: %s." . ($known | uniq | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
{{- if and .Values.alertmanager.enabled (eq .Values.alertmanager.notify "webhook") (not .Values.alertmanager.webhook) }}
{{- fail "alertmanager.notify is webhook: set alertmanager.webhook to the address that receives the alerts." }}
{{- end }}
{{- if and .Values.collector.enabled .Values.collector.endpoint (not .Values.networkPolicies.tracesTo) .Values.networkPolicies.enabled }}
{{- fail "collector.endpoint is set, and no network policy lets the collector reach it: name its pods or addresses in networkPolicies.tracesTo." }}
{{- end }}
{{- if and .Values.grafana.enabled (not .Values.prometheus.enabled) }}
{{- fail "grafana.enabled needs prometheus.enabled: this Grafana reads our own Prometheus." }}
{{- end }}
{{- end }}
