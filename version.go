package proxyos

import (
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
)

// modulePath is the path of this Go module.
const modulePath = "github.com/proxyos/caddy-proxyos"

// buildVersion is what a binary is made of. What is not known is empty.
type buildVersion struct {
	Version  string `json:"version"`            // of this module
	Commit   string `json:"commit,omitempty"`   // of this module
	Modified bool   `json:"modified,omitempty"` // the commit's files were changed before the build
	Caddy    string `json:"caddy"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// builtIn is what this binary is made of.
var builtIn = sync.OnceValue(func() buildVersion {
	v := buildVersion{Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	v.Caddy, _ = caddy.Version()
	build, _ := debug.ReadBuildInfo()
	v.find(build)
	return v
})

// moduleVersion returns the version of this module that is built in.
func moduleVersion() string { return builtIn().Version }

// pseudoVersion matches a version that Go made of a commit, such as
// v0.0.0-20060102150405-abcdefabcdef.
var pseudoVersion = regexp.MustCompile(`[.-]\d{14}-([0-9a-f]{12})(\+.*)?$`)

// find reads what Go has noted about the build. It notes the commit itself only of the main
// module, which xcaddy makes another one.
func (v *buildVersion) find(build *debug.BuildInfo) {
	if build == nil {
		return
	}
	if build.Main.Path == modulePath {
		v.Version = build.Main.Version
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				v.Commit = setting.Value
			case "vcs.modified":
				v.Modified = setting.Value == "true"
			}
		}
	}
	for _, module := range build.Deps {
		if module.Path != modulePath {
			continue
		}
		v.Version = module.Version
		if module.Replace != nil && module.Replace.Version != "" { // empty for a folder
			v.Version = module.Replace.Version
		}
	}
	if found := pseudoVersion.FindStringSubmatch(v.Version); found != nil && v.Commit == "" {
		v.Commit = found[1]
	}
}

// rows returns what a person reads, in two columns.
func (v buildVersion) rows() [][]string {
	commit := v.Commit
	switch {
	case commit == "":
		commit = "unknown"
	case v.Modified:
		commit += ", with changes"
	}
	version := v.Version
	if version == "" {
		version = "unknown"
	}
	return [][]string{{"proxyos", version}, {"commit", commit}, {"Caddy", v.Caddy}, {"Go", v.Go + " " + v.Platform}}
}

func versionCommand() *cobra.Command {
	inJSON := false
	command := &cobra.Command{
		Use:   "version",
		Short: "Shows the versions of proxyos, Caddy and Go in this program",
		Long: `Shows the versions of proxyos, Caddy and Go in this program.

The commit is known if the program was built from a clone with go build, or with
a version of proxyos that names it. GET /proxyos/ of the admin API tells the
same of the Caddy that is running, which may be an older program.`,
		Example:           "  caddy proxyos version --json",
		Args:              takes(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: runs(func(cmd *cobra.Command, _ []string) (int, error) {
			if inJSON {
				return exitFailed, printJSON(cmd.OutOrStdout(), builtIn())
			}
			table(cmd.OutOrStdout(), "", builtIn().rows(), nil)
			return 0, nil
		}),
	}
	command.Flags().BoolVar(&inJSON, "json", false, "Print JSON")
	return command
}

// serveVersion tells what the running Caddy is made of.
func (*adminAPI) serveVersion(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/proxyos/" {
		return caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        fmt.Errorf("there is no %q; GET /proxyos/routes lists all routes", r.URL.Path),
		}
	}
	if r.Method != http.MethodGet {
		return methodNotAllowed(w, r, http.MethodGet)
	}
	return respond(w, builtIn())
}
