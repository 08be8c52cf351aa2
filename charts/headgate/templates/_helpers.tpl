{{/* What selects the operator's pods: may never change, a Deployment does not allow it. */}}
{{- define "headgate.selector" -}}
app.kubernetes.io/name: headgate
app.kubernetes.io/component: operator
{{- end }}

{{- define "headgate.labels" -}}
{{ include "headgate.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "headgate.meta" -}}
name: headgate-operator
namespace: {{ .Release.Namespace }}
labels:
  {{- include "headgate.labels" . | nindent 2 }}
{{- end }}

{{- define "headgate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}
{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The namespaces that are looked at, as JSON; empty: all of them. */}}
{{- define "headgate.namespaces" -}}
{{- if .Values.namespaces -}}
{{- append .Values.namespaces .Release.Namespace | uniq | sortAlpha | toJson -}}
{{- else -}}
[]
{{- end }}
{{- end }}

{{/* Those whose Secrets are read, likewise; empty: all of them. */}}
{{- define "headgate.dataNamespaces" -}}
{{- if .Values.secretNamespaces -}}
{{- append .Values.secretNamespaces .Release.Namespace | uniq | sortAlpha | toJson -}}
{{- else -}}
{{- include "headgate.namespaces" . -}}
{{- end }}
{{- end }}

{{/* A Role in each of these namespaces, bound to the operator: name, namespaces (a list), rules (a text), root. */}}
{{- define "headgate.roles" -}}
{{- range .namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $.name }}
  namespace: {{ . }}
  labels:
    {{- include "headgate.labels" $.root | nindent 4 }}
rules:
  {{- $.rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $.name }}
  namespace: {{ . }}
  labels:
    {{- include "headgate.labels" $.root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $.name }}
subjects:
  - kind: ServiceAccount
    name: headgate-operator
    namespace: {{ $.root.Release.Namespace }}
{{- end }}
{{- end }}
