package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestTheDockerfileKeepsTheRules(t *testing.T) {
	all, err := dockerfile(read(t, "../Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems(all) {
		t.Error(problem)
	}
	if n := len(stages(all)); n != 2 {
		t.Errorf("there are %d stages, want one to build and one to run", n)
	}
}

func TestTheRulesFindMistakes(t *testing.T) {
	good := "FROM a:1 AS build\nWORKDIR /src\nCOPY . .\nRUN make\nFROM b:2\nCOPY --from=build /src/x /x\nVOLUME [\"/data\", \"/config\"]\n" +
		"USER 1000:1000\nHEALTHCHECK CMD [\"true\"]\nENTRYPOINT [\"/x\"]\n"
	for name, c := range map[string]struct{ old, new, want string }{
		"nothing":                   {"", "", ""},
		"the latest image":          {"b:2", "b:latest", "exact tag"},
		"an image without a tag":    {"b:2", "b", "exact tag"},
		"root":                      {"USER 1000:1000\n", "", "root"},
		"root by name":              {"1000:1000", "root", "root"},
		"root by number":            {"1000:1000", "0:0", "root"},
		"root in the end":           {"ENTRYPOINT", "USER 0\nENTRYPOINT", "root"},
		"no health check":           {"HEALTHCHECK CMD [\"true\"]\n", "", "HEALTHCHECK"},
		"a health check turned off": {"CMD [\"true\"]", "NONE", "HEALTHCHECK"},
		"no volumes":                {"\"/data\", ", "", "VOLUME"},
		"a shell in between":        {"[\"/x\"]", "/x", "brackets"},
		"ADD":                       {"COPY . .", "ADD . .", "COPY"},
		"a relative folder":         {"/src\n", "src\n", "WORKDIR"},
		"a stage that is not":       {"--from=build", "--from=builder", "no stage"},
		"apt-get":                   {"RUN make", "RUN apt-get install -y x", "cannot be run"},
		"sudo":                      {"RUN make", "RUN sudo make", "sudo"},
		"cd":                        {"RUN make", "RUN cd x && make", "WORKDIR"},
		"a RUN in the last stage":   {"USER", "RUN chmod 755 /x\nUSER", "last stage"},
		"an unknown instruction":    {"USER", "MAINTAINER me\nUSER", "MAINTAINER"},
		"a secret":                  {"USER", "ENV API_TOKEN=x\nUSER", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := dockerfile(strings.Replace(good, c.old, c.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(problems(all), "; ")
			if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
	for _, text := range []string{"FROM a \\", "RUN <<EOF\nx\nEOF"} {
		if _, err := dockerfile(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

var (
	imageTag   = regexp.MustCompile(`^(--platform=\S+ )?\S+:(\S+)( AS (\w+))?$`)
	fromStage  = regexp.MustCompile(`--from=(\w+)`)
	secretName = regexp.MustCompile(`(?i)token|password|secret|api_?key`)
)

// problems checks what hadolint would, as far as it matters here.
func problems(all []instruction) (found []string) {
	report := func(one instruction, text string) { found = append(found, one.name+" "+one.value+": "+text) }
	known := []string{"FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "LABEL", "VOLUME", "EXPOSE", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
	var names []string
	last := make(map[string]instruction) // of the last stage
	divided := stages(all)
	for number, stage := range divided {
		for _, one := range stage {
			switch one.name {
			case "FROM":
				image := imageTag.FindStringSubmatch(one.value)
				if image == nil || image[2] == "latest" {
					report(one, "write the image with an exact tag")
				} else {
					names = append(names, image[4])
				}
			case "ADD":
				report(one, "use COPY")
			case "COPY":
				if from := fromStage.FindStringSubmatch(one.value); from != nil && !slices.Contains(names, from[1]) {
					report(one, "there is no stage "+from[1])
				}
			case "WORKDIR":
				if !strings.HasPrefix(one.value, "/") {
					report(one, "WORKDIR takes an absolute path")
				}
			case "RUN":
				words := strings.FieldsFunc(one.value, func(r rune) bool { return strings.ContainsRune(" ;&|()", r) })
				switch {
				case number == len(divided)-1:
					report(one, "the last stage runs on the platform of the image, which the builder would have to emulate")
				case slices.Contains(words, "sudo"):
					report(one, "sudo changes nothing here")
				case slices.Contains(words, "cd"):
					report(one, "use WORKDIR")
				case slices.Contains(words, "apt-get") || slices.Contains(words, "apk") || slices.Contains(words, "curl"):
					report(one, "what is fetched cannot be run in .ci/run, and is not the same tomorrow")
				}
			case "ENTRYPOINT", "CMD":
				if !strings.HasPrefix(one.value, "[") {
					report(one, "without brackets, a shell gets the signals")
				}
			case "ARG", "ENV":
				if secretName.MatchString(one.value) {
					report(one, "a secret would stay in the image")
				}
			}
			if !slices.Contains(known, one.name) && one.name != "ADD" {
				report(one, one.name+" is not used here")
			}
			if number == len(divided)-1 {
				last[one.name] = one
			}
		}
	}
	if user, _, _ := strings.Cut(last["USER"].value, ":"); strings.Trim(user, "0123456789") != "" || strings.Trim(user, "0") == "" {
		found = append(found, "it runs as root, or as a user whose number is not known: "+last["USER"].value)
	}
	if check := last["HEALTHCHECK"].value; !strings.Contains(check, "CMD [") {
		found = append(found, "there is no HEALTHCHECK")
	}
	if volumes := last["VOLUME"].value; !strings.Contains(volumes, `"/data"`) || !strings.Contains(volumes, `"/config"`) {
		found = append(found, "/data and /config are not each a VOLUME")
	}
	if last["ENTRYPOINT"].name == "" {
		found = append(found, "there is no ENTRYPOINT")
	}
	return found
}

func TestTheReleaseHasAllPlatforms(t *testing.T) {
	text := read(t, "../.github/workflows/release.yml")
	_, jobs, err := readWorkflow(text)
	if err != nil {
		t.Fatal(err)
	}
	rows := jobs["binaries"].Strategy.Matrix.Include
	names := make(map[string]bool)
	for _, name := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"} {
		p, err := parsePlatform(name)
		if err != nil {
			t.Fatal(err)
		}
		row, err := p.row(rows)
		if err != nil {
			t.Error(err)
			continue
		}
		names[row["name"]] = true
		if want := strings.ReplaceAll(name, "/", "_"); row["name"] != strings.Replace(want, "_v7", "v7", 1) {
			t.Errorf("%s is named %s", name, row["name"])
		}
		if isWindows := p.os == "windows"; isWindows != (row["exe"] == ".exe") {
			t.Errorf("the program for %s ends with %q", name, row["exe"])
		}
		script, err := p.workflowScript(text, "v1.2.3")
		if err != nil {
			t.Error(err)
		}
		for _, want := range []string{"GOOS='" + p.os + "'", "GOARCH='" + p.arch + "'", "GOARM='" + strings.TrimPrefix(p.variant, "v") + "'", "cyclonedx-gomod", "sha256sum", "gh release create"} {
			if !strings.Contains(script, want) {
				t.Errorf("%s: the script has no %s", name, want)
			}
		}
	}
	if len(names) != len(rows) {
		t.Errorf("the matrix has %d rows, with the names %v", len(rows), names)
	}
	// What one job stores is what the other looks for.
	var stored, found step
	for _, j := range jobs {
		for _, s := range j.Steps {
			switch action, version, _ := strings.Cut(s.Uses, "@"); {
			case s.Uses == "":
			case version == "" || version == "main" || version == "master":
				t.Errorf("the action %s has no version", s.Uses)
			case action == "actions/upload-artifact":
				stored = s
			case action == "actions/download-artifact":
				found = s
			case action == "docker/build-push-action":
				for key, want := range map[string]string{"platforms": "linux/amd64,linux/arm64,linux/arm/v7", "sbom": "true", "push": "true"} {
					if s.With[key] != want {
						t.Errorf("the image has %s: %s, want %s", key, s.With[key], want)
					}
				}
			}
		}
	}
	if stored.With["path"] == "" || stored.With["path"] != found.With["path"] || !strings.HasPrefix(stored.With["name"], strings.TrimSuffix(found.With["pattern"], "*")) {
		t.Errorf("stored is %v, looked for is %v", stored.With, found.With)
	}
}

func TestTheImagesGoIsThatOfTheWorkflows(t *testing.T) {
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if !strings.Contains(read(t, "../Dockerfile"), "golang:"+module+"-") {
		t.Errorf("the Dockerfile does not build with Go %s", module)
	}
	for _, file := range []string{"ci.yml", "release.yml"} {
		if !strings.Contains(read(t, "../.github/workflows/"+file), `go-version: "`+module+`"`) {
			t.Errorf("%s does not set up Go %s", file, module)
		}
	}
}

// A file of the repository that the image's build does not get would make Go note that the commit
// was changed.
func TestTheImageGetsEveryFileOfTheRepository(t *testing.T) {
	ignored := strings.Fields(strings.ReplaceAll(withoutComments(read(t, "../.gitignore")), "/\n", "\n"))
	for _, pattern := range strings.Fields(withoutComments(read(t, "../.dockerignore"))) {
		if !slices.Contains(ignored, pattern) {
			t.Errorf(".dockerignore has %s, .gitignore has not", pattern)
		}
	}
}

func TestExpressionsOfWorkflows(t *testing.T) {
	known := map[string]string{"github.ref_name": "v1", "matrix.exe": ""}
	if got, err := evaluate("a-${{ github.ref_name }}${{matrix.exe}}", known); err != nil || got != "a-v1" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := evaluate("${{ inputs.x }}", known); err == nil {
		t.Error("an unknown expression is evaluated")
	}
	const head = "defaults: {run: {shell: bash}}\njobs: {one: {steps: [{name: x, run: "
	if _, err := (platform{}).workflowScript(head+"'echo ${{ github.ref_name }}'}]}}", "v1"); err == nil {
		t.Error("a command with an expression in it is read")
	}
	if script, err := (platform{}).workflowScript(head+"echo}]}}", "v1"); err != nil || !strings.Contains(script, "-c 'echo'") {
		t.Errorf("got %s, %v", script, err)
	}
}

func TestArgumentsThatAreNotValid(t *testing.T) {
	for _, args := range [][]string{nil, {"dockerfile"}, {"dockerfile", "linux"}, {"release", "linux/amd64"}, {"image", "linux/amd64"}} {
		if _, err := scriptFor(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

// compose is what the test reads of compose.yaml.
type compose struct {
	Services map[string]struct {
		Build, Image string
		Ports        []string
		Volumes      []string
		Command      []string
		CapDrop      []string `yaml:"cap_drop"`
		SecurityOpt  []string `yaml:"security_opt"`
		DependsOn    []string `yaml:"depends_on"`
		Healthcheck  struct{ Disable bool }
	}
	Volumes map[string]any
}

func TestTheComposeFileHasWhatItsConfigNames(t *testing.T) {
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "../compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	caddyfile := read(t, "../examples/compose/Caddyfile")
	for name, service := range c.Services {
		if service.Build != "." || !slices.Contains(service.CapDrop, "ALL") || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: %+v", name, service)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: the demo listens for others on %s", name, port)
			}
		}
		if name == "caddy" {
			continue
		}
		if !strings.Contains(caddyfile, " "+name+":3000") || !slices.Contains(c.Services["caddy"].DependsOn, name) || !service.Healthcheck.Disable {
			t.Errorf("%s is not used as it should be: %+v", name, service)
		}
		if want := []string{"respond", "--listen", ":3000", name + "\n"}; !slices.Equal(service.Command, want) {
			t.Errorf("%s runs %q, want %q", name, service.Command, want)
		}
	}
	volumes := c.Services["caddy"].Volumes
	for _, want := range []string{"./examples/compose:/etc/caddy:ro", "data:/data", "config:/config"} {
		if !slices.Contains(volumes, want) {
			t.Errorf("the volumes are %v, without %s", volumes, want)
		}
	}
	if len(c.Services) != 3 || len(c.Volumes) != 2 {
		t.Errorf("there are the services %v and the volumes %v", c.Services, c.Volumes)
	}
}

// A service that starts another program than the page installs does not start.
func TestTheServiceStartsWhatThePageInstalls(t *testing.T) {
	unit, page := read(t, "caddy.service"), read(t, "../docs/install.md")
	programs := regexp.MustCompile(`(?m)^Exec\w+=(\S+) (\w+) .*--config (\S+)`).FindAllStringSubmatch(unit, -1)
	if len(programs) != 2 {
		t.Fatalf("the unit starts %v", programs)
	}
	for _, program := range programs {
		for _, want := range []string{program[1], program[3]} {
			if !strings.Contains(page, " "+want+"\n") {
				t.Errorf("the page does not install %s", want)
			}
		}
	}
	if !strings.Contains(unit, "\nUser=caddy\nGroup=caddy\n") || !strings.Contains(page, "--home-dir /var/lib/caddy") {
		t.Error("the unit's user or home is not what the page makes")
	}
	if !strings.Contains(page, "dist/caddy.service /etc/systemd/system/\n") {
		t.Error("the page does not install the unit")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func withoutComments(text string) string {
	return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
}
