package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const traefikModule = "github.com/traefik/traefik/v3"

// traefikConfig is the part of Traefik's configuration that it reads from a file. A transport of
// one's own keeps two idle connections to each server where it does not say how many; Traefik's
// default transport keeps 200.
const traefikConfig = `http:
  routers:
    app:
      entryPoints: [web]
      rule: PathPrefix("/")
      service: app
{{if .Headers}}      middlewares: [fields]
  middlewares:
    fields:
      headers:
        customRequestHeaders: {Cookie: ""}
        customResponseHeaders: {Server: "", X-Frame-Options: DENY}
{{end}}  services:
    app:
      loadBalancer:
        serversTransport: app
        servers:
          - {url: "http{{if .TLS}}s{{end}}://{{.Production}}", weight: {{index .Weights 0}}}
          - {url: "http{{if .TLS}}s{{end}}://{{.Staging}}", weight: {{index .Weights 1}}}
  serversTransports:
    app: {insecureSkipVerify: true, disableHTTP2: true, maxIdleConnsPerHost: 200}
`

// startTraefik runs the Traefik of bench/peers.
func startTraefik(ctx context.Context, l *lab, config string, s site) (*process, error) {
	program, err := l.buildTraefik(ctx)
	if err != nil {
		return nil, err
	}
	named := config + ".yml" // by which Traefik knows the format
	if err := os.Rename(config, named); err != nil {
		return nil, err
	}
	return l.start(ctx, traefikName, s.Listen, program, "--entryPoints.web.address="+s.Listen, "--providers.file.filename="+named,
		"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR")
}

// buildTraefik builds Traefik from the module of the peers, once.
func (l *lab) buildTraefik(ctx context.Context) (string, error) {
	program := l.path(traefikName)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	progress("building Traefik; the first time, that takes some minutes")
	folder, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/proxyos/caddy-proxyos/bench").Output()
	if err != nil {
		return "", fmt.Errorf("looking for bench/peers: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, traefikModule+"/cmd/traefik")
	build.Dir = filepath.Join(strings.TrimSpace(string(folder)), "peers")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Traefik: %w\n%s", err, output)
	}
	return program, nil
}
