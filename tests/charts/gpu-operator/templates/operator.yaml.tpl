apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .Release.Name }}
rules:
  - {apiGroups: [nvidia.com], resources: [clusterpolicies], verbs: [get, list]}
  - {apiGroups: [nvidia.com], resources: [clusterpolicies/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .Release.Name }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .Release.Name }}}
subjects:
  - {kind: ServiceAccount, name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
data:
  policies.py: |
    {{- .Files.Get "policies.py" | nindent 4 }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      terminationGracePeriodSeconds: 0
      containers:
        - name: operator
          image: {{ .Values.image }}
          command: [python3, /operator/policies.py]
          resources: {requests: {cpu: 5m, memory: 16Mi}}
          volumeMounts: [{name: operator, mountPath: /operator}]
      volumes:
        - {name: operator, configMap: {name: {{ .Release.Name }}}}
---
# The real operator makes those of its DaemonSets itself.
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: nvidia-device-plugin-daemonset
  namespace: {{ .Release.Namespace }}
spec:
  selector: {matchLabels: {app: device-plugin}}
  template:
    metadata:
      labels: {app: device-plugin}
    spec:
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      containers:
        - name: device-plugin
          image: {{ .Values.image }}
          command: [sleep, infinity]
          resources: {requests: {cpu: 5m, memory: 8Mi}}
{{- with .Values.devicePlugin.config }}
{{- if .create }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  namespace: {{ $.Release.Namespace }}
data: {{ toYaml .data | nindent 2 }}
{{- end }}
{{- end }}
