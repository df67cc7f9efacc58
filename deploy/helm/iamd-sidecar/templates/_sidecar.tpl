{{/*
The parts of a pod with iamd. Each takes the context of the application's chart, which includes this one as `iamd`.

  spec:
    securityContext:            {{- include "iamd-sidecar.podSecurityContext" . | nindent 8 }}
    initContainers:             {{- include "iamd-sidecar.initContainer" . | nindent 8 }}
    containers:
      - name: app
        env:                    {{- include "iamd-sidecar.env" . | nindent 12 }}
        volumeMounts:           {{- include "iamd-sidecar.volumeMount" . | nindent 12 }}
    volumes:                    {{- include "iamd-sidecar.volumes" . | nindent 8 }}
*/}}

{{/* The label of every pod with the sidecar, by which its metrics are found. */}}
{{- define "iamd-sidecar.labels" -}}
iamd/sidecar: "true"
{{- end -}}

{{/* The members of this group may open the socket. */}}
{{- define "iamd-sidecar.podSecurityContext" -}}
fsGroup: 65532
{{- end -}}

{{- define "iamd-sidecar.image" -}}
{{- $image := .Values.iamd.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default "0.1.0" }}
{{- end -}}
{{- end -}}

{{/* The native sidecar: the kubelet starts it before the containers and stops it after them. */}}
{{- define "iamd-sidecar.initContainer" -}}
{{- $iamd := .Values.iamd -}}
- name: iamd
  image: {{ include "iamd-sidecar.image" . | quote }}
  imagePullPolicy: {{ $iamd.image.pullPolicy }}
  restartPolicy: Always
  args:
    - serve
    - --store=/policies
    - --listen=unix:/run/iamd/iamd.sock
    - --health-listen=0.0.0.0:{{ $iamd.healthPort }}
    - --http-listen=0.0.0.0:{{ $iamd.httpPort }}
    - --insecure-plaintext
    {{- with $iamd.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $iamd.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: iamd-health
      containerPort: {{ $iamd.healthPort }}
    - name: iamd-http
      containerPort: {{ $iamd.httpPort }}
  startupProbe:
    grpc:
      port: {{ $iamd.healthPort }}
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    grpc:
      port: {{ $iamd.healthPort }}
    periodSeconds: 10
    failureThreshold: 3
  readinessProbe:
    grpc:
      port: {{ $iamd.healthPort }}
    periodSeconds: 2
  resources:
    {{- toYaml $iamd.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities:
      drop:
        - ALL
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    - name: iamd-policies
      mountPath: /policies
      readOnly: true
    - name: iamd-socket
      mountPath: /run/iamd
{{- end -}}

{{/* What the application asks, and where its container finds the socket. */}}
{{- define "iamd-sidecar.env" -}}
- name: IAMD_ADDRESS
  value: unix:/run/iamd/iamd.sock
{{- end -}}

{{- define "iamd-sidecar.volumeMount" -}}
- name: iamd-socket
  mountPath: /run/iamd
{{- end -}}

{{- define "iamd-sidecar.volumes" -}}
{{- $policies := .Values.iamd.policies -}}
{{- if not $policies -}}
{{- $file := .Files.Get .Values.iamd.policiesFile -}}
{{- if not $file -}}
{{- fail (printf "the chart has no file %s: write it with `iamd export --kubernetes NAME --volume`, or set iamd.policies" .Values.iamd.policiesFile) -}}
{{- end -}}
{{- $policies = fromYaml $file -}}
{{- end -}}
{{ toYaml (list $policies) }}
- name: iamd-socket
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end -}}

{{/* A PodMonitor of the Prometheus operator, if it is enabled. */}}
{{- define "iamd-sidecar.podMonitor" -}}
{{- if .Values.iamd.podMonitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ .Release.Name }}-iamd
  {{- with .Values.iamd.podMonitor.labels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "iamd-sidecar.labels" . | nindent 6 }}
      app.kubernetes.io/instance: {{ .Release.Name }}
  podMetricsEndpoints:
    - port: iamd-http
      path: /metrics
{{- end -}}
{{- end -}}
