{{- define "onlooker.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "onlooker.chosen" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "onlooker.labels" -}}
{{ include "onlooker.chosen" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "onlooker.secret" -}}
{{- .Values.secret.existing | default (include "onlooker.name" .) -}}
{{- end -}}

{{- define "onlooker.image" -}}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag -}}
{{- end -}}

{{/* Seconds that a server takes at most to hand over what it has, and as long again to end. */}}
{{- define "onlooker.drainSeconds" -}}
{{- add .Values.drain.answersSeconds .Values.drain.closeSeconds -}}
{{- end -}}

{{- define "onlooker.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Whatever would make a release that cannot work is refused, with what to do. */}}
{{- define "onlooker.check" -}}
{{- if not .Values.secret.existing -}}
{{- if not .Values.secret.apiKeys -}}
{{- fail "set secret.apiKeys (for example to what `openssl rand -hex 24` prints), or secret.existing: without a key everyone who reaches the address could watch and ask" -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.secret.redisPassword) -}}
{{- fail "set secret.redisPassword, or secret.existing: Redis holds what streams showed" -}}
{{- end -}}
{{- if and (not .Values.redis.enabled) (not .Values.redis.url) -}}
{{- fail "servers share their memory in Redis: set redis.enabled, or redis.url, or secret.existing with the key redis-url" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.redis.enabled .Values.redis.url -}}
{{- fail "redis.url names a Redis outside, and redis.enabled starts another: set one of them" -}}
{{- end -}}
{{- if and (eq .Values.autoscaling.kind "keda") (not .Values.autoscaling.prometheus) -}}
{{- fail "autoscaling.kind keda asks Prometheus for the load of servers: set autoscaling.prometheus to its address" -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.min) (int .Values.autoscaling.max) -}}
{{- fail "autoscaling.min is more than autoscaling.max" -}}
{{- end -}}
{{- $most := ternary .Values.replicas .Values.autoscaling.max (eq .Values.autoscaling.kind "none") -}}
{{- if and .Values.door.enabled (gt (int $most) (int .Values.door.maxServers)) -}}
{{- fail (printf "there may be %d servers, and the door knows %d at most: raise door.maxServers" (int $most) (int .Values.door.maxServers)) -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled: name the Gateway in gateway.parentRefs" -}}
{{- end -}}
{{- end -}}
