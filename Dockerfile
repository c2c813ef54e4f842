# syntax=docker/dockerfile:1
# A Caddy with the proxyos module. docs/install.md says how to run it.

# The program is built on the builder's own platform, for that of the image.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux TARGETARCH=amd64 TARGETVARIANT=
ENV CGO_ENABLED=0
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
	go build -trimpath -ldflags="-s -w" -o out/caddy ./cmd/caddy
# Folders that the user of the image may write to.
RUN mkdir -p out/data/caddy out/config/caddy

FROM alpine:3.22
LABEL org.opencontainers.image.title="caddy-proxyos" \
	org.opencontainers.image.description="Caddy with the proxyos module" \
	org.opencontainers.image.source="https://github.com/proxyos/caddy-proxyos" \
	org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=1000:1000 /src/out/data /data
COPY --from=build --chown=1000:1000 /src/out/config /config
COPY --from=build /src/out/caddy /usr/bin/caddy
COPY dist/Caddyfile /etc/caddy/Caddyfile
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
VOLUME ["/data", "/config"]
WORKDIR /data
EXPOSE 80 443 443/udp
# Docker lets every user of a container listen on low ports.
USER 1000:1000
# The admin API answers once Caddy runs, whatever its config serves.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
	CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:2019/proxyos/"]
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
