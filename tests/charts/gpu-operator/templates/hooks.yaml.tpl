apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-upgrade-crd
  annotations:
    helm.sh/hook: pre-upgrade
    helm.sh/hook-delete-policy: hook-succeeded,before-hook-creation
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: upgrade, image: {{ .Values.image }}, command: [sleep, infinity]}]
{{- if .Values.nfd.enabled }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-prune
  annotations:
    helm.sh/hook: post-delete
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      containers: [{name: prune, image: {{ .Values.image }}, command: {{ toJson .Values.cleanup }}}]
{{- end }}
