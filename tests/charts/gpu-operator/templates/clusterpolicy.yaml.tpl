apiVersion: nvidia.com/v1
kind: ClusterPolicy
metadata:
  name: cluster-policy
spec:
  driver: {{ toYaml .Values.driver | nindent 4 }}
  toolkit: {{ toYaml .Values.toolkit | nindent 4 }}
  mig: {{ toYaml .Values.mig | nindent 4 }}
  migManager: {{ toYaml .Values.migManager | nindent 4 }}
  dcgmExporter: {{ toYaml .Values.dcgmExporter | nindent 4 }}
  devicePlugin:
    config: {name: {{ .Values.devicePlugin.config.name | quote }}, default: {{ .Values.devicePlugin.config.default | quote }}}
  kubernetes: {{ .Capabilities.KubeVersion.Version | quote }}
  deployments: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" }}
