package proxyos

import (
	"runtime/debug"
	"testing"
)

func TestWhatABinaryIsMadeOf(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	stamps := []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "true"}}
	dep := func(version string, replace *debug.Module) *debug.BuildInfo {
		return &debug.BuildInfo{
			Main:     debug.Module{Path: "caddy", Version: "(devel)"},
			Deps:     []*debug.Module{{Path: "example.com/other", Version: "v9.0.0"}, {Path: modulePath, Version: version, Replace: replace}},
			Settings: stamps, // of another module
		}
	}
	own := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: version}, Settings: settings}
	}
	for name, c := range map[string]struct {
		build                   *debug.BuildInfo
		version, commit, column string
	}{
		"nothing is known":                 {nil, "", "", "unknown"},
		"go build in a clone with a tag":   {own("v1.2.3", stamps[0]), "v1.2.3", commit, commit},
		"go build in a clone with changes": {own("v1.2.4-0.20260102030405-0123456789ab+dirty", stamps...), "v1.2.4-0.20260102030405-0123456789ab+dirty", commit, commit + ", with changes"},
		"go build without a repository":    {own("(devel)"), "(devel)", "", "unknown"},
		"xcaddy with a folder":             {dep("v0.0.0", &debug.Module{Path: "/src"}), "v0.0.0", "", "unknown"},
		"xcaddy with a version":            {dep("v1.2.3", nil), "v1.2.3", "", "unknown"},
		"xcaddy with a commit":             {dep("v0.0.0-20260102030405-0123456789ab", nil), "v0.0.0-20260102030405-0123456789ab", "0123456789ab", "0123456789ab"},
		"xcaddy with a fork":               {dep("v1.2.3", &debug.Module{Path: "example.com/fork", Version: "v1.2.4"}), "v1.2.4", "", "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			var v buildVersion
			v.find(c.build)
			if v.Version != c.version || v.Commit != c.commit {
				t.Errorf("version %q, commit %q; want %q, %q", v.Version, v.Commit, c.version, c.commit)
			}
			if got := v.rows()[1][1]; got != c.column {
				t.Errorf("the commit is shown as %q, want %q", got, c.column)
			}
		})
	}
}
