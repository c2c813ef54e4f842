// Command dist prints the commands of the Dockerfile or of the release workflow as a script, so that
// .ci/run can run exactly what stands there:
//
//	go run ./dist dockerfile linux/amd64
//	go run ./dist release linux/amd64 v1.2.3
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const usage = "write dockerfile <platform>, or release <platform> <tag>"

func main() {
	script, err := scriptFor(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	fmt.Print(script)
}

// scriptFor returns the script that the arguments ask for. It begins where the repository does.
func scriptFor(args []string) (string, error) {
	if len(args) < 2 {
		return "", errors.New(usage)
	}
	p, err := parsePlatform(args[1])
	if err != nil {
		return "", err
	}
	var script string
	switch {
	case args[0] == "dockerfile" && len(args) == 2:
		script, err = from("Dockerfile", p.dockerfileScript)
	case args[0] == "release" && len(args) == 3:
		script, err = from(".github/workflows/release.yml", func(text string) (string, error) { return p.workflowScript(text, args[2]) })
	default:
		return "", errors.New(usage)
	}
	return "set -euo pipefail\n" + script, err
}

func from(file string, make func(string) (string, error)) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	script, err := make(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return script, nil
}

// platform is what a program is built for, such as linux/arm/v7.
type platform struct{ os, arch, variant string }

func parsePlatform(text string) (platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return platform{}, fmt.Errorf("%q is not a platform; write one such as linux/amd64 or linux/arm/v7", text)
	}
	return platform{parts[0], parts[1], strings.Join(parts[2:], "")}, nil
}

func (p platform) String() string {
	return strings.TrimSuffix(p.os+"/"+p.arch+"/"+p.variant, "/")
}

// quoted returns text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
