{{/*
What the operator may do: exactly what it does. Each verb has its reason in the chart's README; a test removes each in turn
and looks for what fails.
*/}}

{{/* Wherever upstreams are looked at. What goes only with its gateway is deleted by the cluster, not by the operator. */}}
{{- define "headgate.rules.objects" -}}
- apiGroups: [headgate.dev]
  resources: [integrationgateways, upstreams, retrypolicies, circuitbreakers, ratelimits]
  verbs: [list, watch]
- apiGroups: [headgate.dev]
  resources:
    - integrationgateways/status
    - upstreams/status
    - retrypolicies/status
    - circuitbreakers/status
    - ratelimits/status
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, update]
{{- end }}

{{/* Wherever Secrets and ConfigMaps may be read, and gateways may be. */}}
{{- define "headgate.rules.data" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
{{- end }}

{{/* With all namespaces: which there are, and their labels. */}}
{{- define "headgate.rules.namespaces" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}

{{/* With some: their labels. */}}
{{- define "headgate.rules.namespace" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{/* In the release's namespace, which is always among those above too. */}}
{{- define "headgate.rules.own" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [headgate-operator]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [headgate-ca]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, patch]
{{- end }}
