package main

import (
	"fmt"
	"regexp"
	"strings"
)

// instruction is one of a Dockerfile.
type instruction struct {
	line  int
	name  string // in capitals
	value string
}

// dockerfile reads the instructions of a Dockerfile. It knows no heredocs and no other escape
// character, and rejects them.
func dockerfile(text string) (all []instruction, err error) {
	var open *instruction
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		rest, continues := strings.CutSuffix(trimmed, `\`)
		if open == nil {
			name, value, _ := strings.Cut(rest, " ")
			open = &instruction{line: i + 1, name: strings.ToUpper(name), value: strings.TrimSpace(value)}
		} else {
			open.value += " " + strings.TrimSpace(rest)
		}
		if continues {
			continue
		}
		if strings.Contains(open.value, "<<") {
			return nil, fmt.Errorf("line %d: heredocs are not read here", open.line)
		}
		all, open = append(all, *open), nil
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the instruction does not end", open.line)
	}
	return all, nil
}

// stages divides instructions at each FROM.
func stages(all []instruction) (stages [][]instruction) {
	for _, one := range all {
		if one.name == "FROM" || len(stages) == 0 {
			stages = append(stages, nil)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], one)
	}
	return stages
}

// assignment matches NAME=value, NAME="value" and, in ARG, NAME alone.
var assignment = regexp.MustCompile(`([A-Za-z_]\w*)(?:=("[^"]*"|\S*))?`)

// script returns the commands of the RUN lines, to be run in the folder that the Dockerfile is in.
func (p platform) dockerfileScript(text string) (string, error) {
	all, err := dockerfile(text)
	if err != nil {
		return "", err
	}
	given := map[string]string{"TARGETOS": p.os, "TARGETARCH": p.arch, "TARGETVARIANT": p.variant, "TARGETPLATFORM": p.String()}
	script, commands := new(strings.Builder), 0
	for _, stage := range stages(all) {
		script.WriteString("(\n")
		for _, one := range stage {
			switch one.name {
			case "ARG", "ENV":
				for _, pair := range assignment.FindAllStringSubmatch(one.value, -1) {
					value, ok := given[pair[1]]
					if !ok || one.name == "ENV" {
						value = strings.Trim(pair[2], `"`)
					}
					fmt.Fprintf(script, "export %s=%s\n", pair[1], quoted(value))
				}
			case "RUN":
				if strings.HasPrefix(one.value, "-") || strings.HasPrefix(one.value, "[") {
					return "", fmt.Errorf("line %d: only RUN with a plain command is read here", one.line)
				}
				commands++
				fmt.Fprintf(script, "echo %s\nsh -ec %s\n", quoted("+ "+one.value), quoted(one.value))
			}
		}
		script.WriteString(")\n")
	}
	if commands == 0 {
		return "", fmt.Errorf("the Dockerfile has no RUN line")
	}
	return script.String(), nil
}
