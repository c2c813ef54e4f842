package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// lab is where a measurement takes place: a scratch directory with a freshly built Caddy, and the
// processes that run in it.
type lab struct {
	dir       string
	caddy     string
	processes []*process
}

// debianPackages are the packages of the programs.
var debianPackages = map[string]string{"wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy"}

func checkPrograms(names []string) error {
	var missing []string
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, debianPackages[name])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("programs are missing; install them with `apt-get install %s`", strings.Join(missing, " "))
	}
	return nil
}

// openLab makes a scratch directory, and builds a Caddy with this module in it.
func openLab(ctx context.Context) (*lab, error) {
	dir, err := os.MkdirTemp("", "proxyos-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers have another user
		return nil, err
	}
	l := &lab{dir: dir, caddy: filepath.Join(dir, "caddy")}
	progress("building Caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", l.caddy, "github.com/proxyos/caddy-proxyos/cmd/caddy")
	if output, err := build.CombinedOutput(); err != nil {
		l.close()
		return nil, fmt.Errorf("building Caddy: %w\n%s", err, output)
	}
	return l, nil
}

// close ends all processes and removes all files.
func (l *lab) close() {
	l.stopAll()
	_ = os.RemoveAll(l.dir)
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) write(name, text string) (string, error) {
	path := l.path(name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// start runs a program in the lab and waits until it listens.
func (l *lab) start(ctx context.Context, name, address, program string, args ...string) (*process, error) {
	environment := []string{"HOME=" + l.dir, "XDG_DATA_HOME=" + l.path("data"), "XDG_CONFIG_HOME=" + l.path("config")}
	p, err := start(l.path(name+".log"), environment, program, args...)
	if err != nil {
		return nil, err
	}
	l.processes = append(l.processes, p)
	return p, p.awaitPort(ctx, address)
}

// stopAll ends the processes in the lab, the latest first.
func (l *lab) stopAll() {
	for i := len(l.processes) - 1; i >= 0; i-- {
		l.processes[i].stop()
	}
	l.processes = nil
}

// startBackend runs this program as a backend.
func (l *lab) startBackend(ctx context.Context, address, group string, flags ...string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{"backend", "-listen", address, "-name", group}, flags...)
	return l.start(ctx, "backend", address, program, args...)
}

// freeAddress returns a loopback address that nobody listens on. Its port is below those of
// outgoing connections, so that none of them takes it first.
func freeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", errors.New("no free port found")
}

func freeAddresses(n int) ([]string, error) {
	seen := make(map[string]bool)
	var all []string
	for len(all) < n {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		if !seen[address] {
			seen[address] = true
			all = append(all, address)
		}
	}
	return all, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
