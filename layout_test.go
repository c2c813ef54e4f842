package proxyos

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/probe"
	"github.com/proxyos/caddy-proxyos/internal/release"
)

// Whoever can set a share can choose the text of "by", and a server chooses what is in its
// certificate. Neither may speak to the operator's terminal, or add a line to what is printed.
func TestNothingHostileReachesTheTerminal(t *testing.T) {
	hostile := evil + "\nshop: 100 % to staging\r"
	verify := false
	upstream := upstreamStatus{Address: hostile, Dial: hostile, Scheme: hostile, Health: hostile, TLSVerify: &verify}
	until := time.Now()
	route := routeStatus{Name: hostile, Label: hostile, Groups: []groupStatus{{Name: hostile, Upstreams: []upstreamStatus{upstream}, Failing: 9}},
		Override: &setSplit{SetBy: hostile, UnclearUntil: &until}}
	unnamed := routeStatus{Label: hostile, Groups: route.Groups}
	explained := explanation{Address: hostile, Scheme: "http", Dial: hostile, Reason: hostile}
	for name, print := range map[string]func(out *strings.Builder, p printer) error{
		"list": func(_ *strings.Builder, p printer) error { return p.list([]routeStatus{route, unnamed}) },
		"show": func(_ *strings.Builder, p printer) error { return p.route(route) },
		"release": func(_ *strings.Builder, p printer) error {
			s := releaseStatus{Phase: string(release.Paused), Hold: hostile, Lasted: hostile, Reason: hostile, Edited: hostile, Steps: []float64{1}, Step: 1,
				Tests: []release.Finding{{Test: hostile, Text: hostile}}, Waits: []release.Missing{{For: hostile, Text: hostile}}}
			if err := newReleaseWatch(adminClient{}, p, hostile).show(s, true); err != nil {
				return err
			}
			s.Phase = hostile
			return p.release(hostile, s)
		},
		"cluster": func(_ *strings.Builder, p printer) error {
			record := instanceRecord{ID: hostile, Name: hostile, Shares: map[string]float64{hostile: 10}}
			return p.cluster([]routeStatus{route}, []instanceRecord{record}, time.Now())
		},
		"an error": func(out *strings.Builder, _ printer) error {
			printError(out, errors.New(evil))
			return nil
		},
		"progress": func(out *strings.Builder, _ printer) error {
			newProgress(out).show(hostile)
			return nil
		},
		"explain": func(out *strings.Builder, p printer) error {
			explained.print(out)
			explanation{Address: hostile, Error: hostile}.print(out)
			routeExplanation{Label: hostile, Server: hostile, Hosts: []string{hostile}, Warnings: []string{hostile}, Error: hostile,
				Upstreams: []upstreamExplanation{{Group: hostile, explanation: explained, speaks: hostile, certificate: hostile}}}.print(out)
			return nil
		},
		"probe": func(out *strings.Builder, _ printer) error {
			printStep(out, probe.Step{Name: "TLS", Detail: hostile, Certificate: &certs.Description{Subject: hostile, Issuer: hostile, Names: []string{hostile}, SHA256: hostile}})
			return nil
		},
	} {
		for _, asJSON := range []bool{false, true} {
			var out strings.Builder
			if err := print(&out, printer{out: &out, json: asJSON}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for line := range strings.SplitSeq(out.String(), "\n") {
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.HasPrefix(strings.TrimSpace(line), "shop:") {
					t.Errorf("%s, JSON %v, prints the line %q", name, asJSON, line)
				}
			}
		}
	}
	var out strings.Builder
	if err := printJSON(&out, hostile); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || !reflect.DeepEqual(back, hostile) {
		t.Errorf("%s is read back as %q, %v", &out, back, err)
	}
}
