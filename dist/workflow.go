package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// workflow is what is read here of a workflow of GitHub Actions.
type workflow struct {
	Defaults struct {
		Run struct{ Shell string }
	}
	Permissions map[string]string
	Jobs        yaml.Node // in their order
}

type job struct {
	Strategy struct {
		Matrix struct{ Include []map[string]string }
	}
	Env   map[string]string
	Steps []step
}

type step struct {
	Name, Uses, Run string
	With, Env       map[string]string
}

// readWorkflow returns the jobs of a workflow by name, and the names in their order.
func readWorkflow(text string) (names []string, jobs map[string]job, err error) {
	var w workflow
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return nil, nil, err
	}
	if w.Defaults.Run.Shell != "bash" {
		return nil, nil, errors.New("the shell of the workflow is not bash, so that a failure in a pipe would go unnoticed")
	}
	jobs = make(map[string]job)
	for i := 0; i+1 < len(w.Jobs.Content); i += 2 {
		var j job
		if err := w.Jobs.Content[i+1].Decode(&j); err != nil {
			return nil, nil, err
		}
		name := w.Jobs.Content[i].Value
		names, jobs[name] = append(names, name), j
	}
	return names, jobs, nil
}

// expression matches ${{ … }}.
var expression = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

// workflowScript returns the commands of the workflow for one platform, in the order of its jobs.
func (p platform) workflowScript(text, tag string) (string, error) {
	names, jobs, err := readWorkflow(text)
	if err != nil {
		return "", err
	}
	script, commands := new(strings.Builder), 0
	for _, name := range names {
		j := jobs[name]
		known := map[string]string{"github.ref_name": tag, "github.repository": "proxyos/caddy-proxyos", "secrets.GITHUB_TOKEN": ""}
		if len(j.Strategy.Matrix.Include) > 0 {
			row, err := p.row(j.Strategy.Matrix.Include)
			if err != nil {
				return "", err
			}
			for _, other := range j.Strategy.Matrix.Include {
				for key := range other {
					known["matrix."+key] = row[key]
				}
			}
		}
		for _, s := range j.Steps {
			if s.Run == "" {
				continue
			}
			if expression.MatchString(s.Run) {
				return "", fmt.Errorf("%s: %q has an expression, which anything could be put into; use a variable", name, s.Name)
			}
			env := maps.Clone(j.Env)
			if env == nil {
				env = make(map[string]string)
			}
			maps.Copy(env, s.Env)
			script.WriteString("(\n")
			for _, variable := range slices.Sorted(maps.Keys(env)) {
				value, err := evaluate(env[variable], known)
				if err != nil {
					return "", fmt.Errorf("%s: %s: %w", name, variable, err)
				}
				fmt.Fprintf(script, "export %s=%s\n", variable, quoted(value))
			}
			commands++
			fmt.Fprintf(script, "echo %s\nbash --noprofile --norc -eo pipefail -c %s\n)\n", quoted("+ "+name+": "+s.Name), quoted(s.Run))
		}
	}
	if commands == 0 {
		return "", errors.New("the workflow has no commands")
	}
	return script.String(), nil
}

// row returns the row of a matrix that is about the platform.
func (p platform) row(rows []map[string]string) (map[string]string, error) {
	for _, row := range rows {
		if row["goos"] == p.os && row["goarch"] == p.arch && "v"+row["goarm"] == "v"+strings.TrimPrefix(p.variant, "v") {
			return row, nil
		}
	}
	return nil, fmt.Errorf("the matrix has no row for %v", p)
}

// evaluate puts known values in place of expressions.
func evaluate(text string, known map[string]string) (string, error) {
	var unknown error
	value := expression.ReplaceAllStringFunc(text, func(found string) string {
		name := expression.FindStringSubmatch(found)[1]
		value, ok := known[name]
		if !ok {
			unknown = fmt.Errorf("the expression %s is not known here", found)
		}
		return value
	})
	return value, unknown
}
