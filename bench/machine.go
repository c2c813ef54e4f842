package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// commandLine is the command that repeats the measurement.
func commandLine() string {
	return strings.Join(append([]string{"go run ./bench"}, os.Args[1:]...), " ")
}

// describeMachine says in Markdown what the measurement ran on.
func describeMachine() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Machine: %s, %d cores, Linux %s; proxy, backends and load on this machine, over loopback. %s.\n",
		cpuModel(), runtime.NumCPU(), kernelVersion(), time.Now().UTC().Format("2 January 2006"))
	versions := []string{runtime.Version(), "Caddy " + caddyVersion()}
	for _, program := range []struct{ name, flag string }{{"nginx", "-v"}, {"haproxy", "-v"}, {"wrk", "-v"}} {
		output, _ := exec.Command(program.name, program.flag).CombinedOutput() // wrk exits with 1
		if line := firstLine(output); line != "" {
			versions = append(versions, line)
		}
	}
	fmt.Fprintf(&text, "\nVersions: %s.\n", strings.Join(versions, "; "))
	return text.String()
}

// traefikVersion is the one that bench/peers requires.
func traefikVersion() string {
	for line := range strings.Lines(string(readAll(filepath.Join("bench", "peers", "go.mod")))) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == traefikModule {
			return fields[1]
		}
	}
	return "of unknown version"
}

func cpuModel() string {
	for line := range strings.Lines(string(readAll("/proc/cpuinfo"))) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func caddyVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/caddyserver/caddy/v2" {
			return module.Version
		}
	}
	return "of unknown version"
}

func readAll(path string) []byte {
	data, _ := os.ReadFile(filepath.Clean(path))
	return data
}

// firstLine returns the first line of a program's output, up to the version.
func firstLine(output []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(output), []byte("\n"))
	if before, _, found := bytes.Cut(line, []byte(" http")); found {
		line = before
	}
	if before, _, found := bytes.Cut(line, []byte(" Copyright")); found {
		line = before
	}
	text, _ := strings.CutPrefix(strings.Trim(string(line), " -"), "nginx version: ")
	return text
}

// kernelVersion is the version of the kernel without what distributions append to it.
func kernelVersion() string {
	version, _, _ := strings.Cut(firstLine(readAll("/proc/sys/kernel/osrelease")), "-")
	return version
}
