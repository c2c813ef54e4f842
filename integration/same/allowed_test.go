package same

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// allowedDifference is one that there is meant to be between reverse_proxy and proxyos. What
// the defaults are is not here: reverse_proxy has them written out, see counterpart.
type allowedDifference struct {
	documented string // what docs/differences.md says of it, word for word
	apply      func(p *samePair, stock, ours *sameSeen)
}

// allowedDifferences are all that are allowed.
var allowedDifferences = []allowedDifference{
	{
		"The log lines and events of `reverse_proxy` have the logger and the origin `http.handlers.proxyos`",
		func(_ *samePair, _, ours *sameSeen) {
			delete(ours.sections, "handler's log") // compared between both ways of proxyos
			delete(ours.sections, rareSection)     // likewise
			delete(ours.sections, "status")        // which reverse_proxy does not have
		},
	},
	{
		"The error of an upstream that does not answer ends with a hint, in the log and in `{err.message}`.",
		func(_ *samePair, stock, ours *sameSeen) {
			stock.dropErrorTexts()
			ours.dropErrorTexts()
		},
	},
	{
		"An offer of HTTP/2 (`Upgrade: h2c`) is dropped, and the request is served as usual.",
		func(p *samePair, stock, ours *sameSeen) {
			if p.request.offersHTTP2() {
				stock.dropUpgrade()
				ours.dropUpgrade()
			}
		},
	},
	{
		"**If all are marked down**, they are tried all the same, by weight, while `reverse_proxy` responds with 503 without trying",
		func(_ *samePair, stock, ours *sameSeen) {
			notAsked := stock.status() == 503 && !stock.wasAsked() && ours.wasAsked()
			oneLess := len(ours.way.config.upstreams) > 1 && stock.status() >= 502 && ours.status() >= 502
			if notAsked || oneLess {
				forget(stock, ours)
			}
		},
	},
	{
		"**An answer that comes before the request is sent whole**, such as 413 or 401, reaches the client.",
		func(p *samePair, stock, ours *sameSeen) {
			isEarly := p.answer.early && p.request.framing != ""
			if isEarly && ours.status() < 500 && (stock.status() != ours.status() || stock.isBrokenOff() && !ours.isBrokenOff()) {
				forget(stock, ours)
			}
		},
	},
	{
		"**A body that is gone is not sent in part.** A request is retried only if its whole body can be sent again",
		func(p *samePair, stock, ours *sameSeen) {
			if p.request.body != "" && stock.attempts() > ours.attempts() {
				forget(stock, ours)
			}
		},
	},
	{
		"Here the client gets 400, 408, 413 or 499, and the upstream keeps its share.",
		func(p *samePair, stock, ours *sameSeen) {
			if p.request.cut > 0 && slices.Contains([]int{400, 408, 413, 499}, ours.logged()) {
				forget(stock, ours)
			}
		},
	},
	{
		"and for an idle connection that the upstream had closed (502, only where the request cannot be sent again)",
		func(p *samePair, stock, ours *sameSeen) {
			closed := p.answer.ending != "" && p.answer.text("GET") == ""
			if closed && p.request.method == "GET" && p.request.body != "" && ours.attempts() > stock.attempts() {
				forget(stock, ours) // reverse_proxy cannot, since it does not keep the body
			}
		},
	},
	{
		"The same goes for a request that cannot be sent (400)",
		func(_ *samePair, stock, ours *sameSeen) {
			if ours.status() == 400 && !stock.wasAsked() && !ours.wasAsked() {
				forget(stock, ours)
			}
		},
	},
}

// forget forgets all that was seen.
func forget(stock, ours *sameSeen) {
	for _, seen := range []*sameSeen{stock, ours} {
		clear(seen.sections)
		seen.forgotten = true
	}
}

// logged is the status in the access log.
func (s *sameSeen) logged() (status int) {
	for _, line := range s.sections["access log"] {
		if rest, ok := strings.CutPrefix(line, `"status":`); ok {
			_, _ = fmt.Sscan(rest, &status)
		}
	}
	return status
}

// wasAsked tells whether any upstream got the request.
func (s *sameSeen) wasAsked() bool {
	for name := range s.sections {
		if strings.HasPrefix(name, "upstream") {
			return true
		}
	}
	return false
}

// offersHTTP2 tells whether a client of HTTP/1 offers to go on in HTTP/2.
func (r *sameRequest) offersHTTP2() bool { return slices.Contains(r.fields, "Upgrade: h2c") }

// dropUpgrade drops from what the upstreams got the fields of an upgrade.
func (s *sameSeen) dropUpgrade() {
	for name := range s.sections {
		if strings.HasPrefix(name, "upstream") {
			s.sections[name] = strings.Split(upgradeFields.ReplaceAllString(strings.Join(s.sections[name], "\x00"), ""), "\x00")
		}
	}
}

var upgradeFields = regexp.MustCompile(`(?m)^(Connection|Upgrade|Http2-Settings): .*\n`)

// dropErrorTexts drops the lines of the error log that say in words what has happened. The
// status and the request stay.
func (s *sameSeen) dropErrorTexts() {
	var kept []string
	for _, line := range s.sections["error log"] {
		if !strings.Contains(line, `"msg":`) && !strings.Contains(line, `"err_trace":`) {
			kept = append(kept, line)
		}
	}
	s.sections["error log"] = kept
}

// allow takes from both what is allowed to differ.
func (p *samePair) allow(stock, ours *sameSeen) {
	for _, allowed := range allowedDifferences {
		allowed.apply(p, stock, ours)
	}
	stock.dropOwn()
	ours.dropOwn()
}

// dropOwn drops the placeholder that only proxyos has.
func (s *sameSeen) dropOwn() {
	var kept []string
	for _, line := range s.sections["access log"] {
		if !strings.Contains(line, `"http.proxyos.group":`) {
			kept = append(kept, line)
		}
	}
	s.sections["access log"] = kept
}

func TestTheDifferencesThatTheHarnessAllowsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	for _, allowed := range allowedDifferences {
		if !strings.Contains(text, strings.Join(strings.Fields(allowed.documented), " ")) {
			t.Errorf("docs/differences.md does not say: %s", allowed.documented)
		}
	}
}
