package same

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// pairsPerConfig is how many pairs a generated configuration is tried with.
const pairsPerConfig = 20

// configsPerCaddy is how many configurations are loaded at a time.
const configsPerCaddy = 12

// maxFailed is how many Caddys may show a difference before it is enough.
const maxFailed = 5

// Set PROXYOS_SAME_PAIRS to try so many pairs, and PROXYOS_SAME_SEED to begin with others, or
// to try once more those that differed.
func TestRandomPairsAreTheSameInAllWays(t *testing.T) {
	pairs, seed := numberFromEnv(t, "PROXYOS_SAME_PAIRS", lab.Sized(120, 300, 60)), numberFromEnv(t, "PROXYOS_SAME_SEED", 1)
	for done, failed := 0, 0; done < pairs && failed < maxFailed; {
		var configs []*sameConfig
		var generators []*sameGenerator
		first := seed
		for ; done < pairs && len(configs) < configsPerCaddy; done += pairsPerConfig {
			g := newSameGenerator(seed)
			configs, generators = append(configs, g.config()), append(generators, g)
			seed++
		}
		passed := t.Run(fmt.Sprint("seeds from ", first), func(t *testing.T) {
			checkAll(t, configs, func(i int) ([]*samePair, string) {
				again := fmt.Sprintf("run it again with PROXYOS_SAME_SEED=%d PROXYOS_SAME_PAIRS=%d go test ./integration/same -run TestRandomPairs", first+i, pairsPerConfig)
				return generators[i].pairs(configs[i]), again
			})
		})
		if !passed {
			failed++
		}
	}
}

// numberFromEnv is a number in the environment, if there is one.
func numberFromEnv(t *testing.T, name string, fallback int) int {
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q is not a number", name, text)
	}
	return n
}

// sameGenerator makes a configuration and pairs for it from a seed.
type sameGenerator struct{ *rand.Rand }

func newSameGenerator(seed int) *sameGenerator {
	return &sameGenerator{rand.New(rand.NewPCG(uint64(seed), 15))}
}

// chance is true so many times in a hundred.
func (g *sameGenerator) chance(percent int) bool { return g.IntN(100) < percent }

// one returns one of a list.
func one[T any](g *sameGenerator, all []T) T { return all[g.IntN(len(all))] }

// some returns up to n of a list, in any order.
func some(g *sameGenerator, n int, all []string) (chosen []string) {
	for range g.IntN(n + 1) {
		if next := one(g, all); !slices.Contains(chosen, next) {
			chosen = append(chosen, next)
		}
	}
	return chosen
}

// config makes a configuration. Every second one is plain but for what is done to headers, as
// most routes are.
func (g *sameGenerator) config() *sameConfig {
	all := sameConfigs()
	c := all[len(all)-1-g.IntN(15)]
	if g.chance(60) {
		c = &sameConfig{upstreams: []string{one(g, []string{"plain", "plain", "plain", "unix", "tls", "h2"})}}
	}
	c.trusting = g.chance(20)
	plain := g.chance(50)
	for _, option := range some(g, 4, sameOptions) {
		name, _, _ := strings.Cut(option, " ")
		isHeader := strings.HasPrefix(name, "header_")
		if plain && !isHeader || !isHeader && (c.says(name) || strings.HasPrefix(name, "lb_") && len(c.upstreams) > 1) || strings.Contains(option, "handle_response") && slices.ContainsFunc(c.options, usesResponse) {
			continue
		}
		c.options = append(c.options, option)
	}
	if g.chance(40) {
		for _, option := range some(g, 3, sameTransportOptions) {
			name, _, _ := strings.Cut(option, " ")
			if !slices.ContainsFunc(c.transport, func(line string) bool { return strings.HasPrefix(line, name) }) && !slices.Contains(notLoadable, option) {
				c.transport = append(c.transport, option)
			}
		}
	}
	return c
}

func usesResponse(option string) bool { return strings.Contains(option, "handle_response") }

// pairs makes pairs for a configuration.
func (g *sameGenerator) pairs(c *sameConfig) (all []*samePair) {
	for range pairsPerConfig {
		p := &samePair{g.request(c), g.answer(c)}
		if p.request.cut > 0 {
			p.answer.early = false // who is first, the answer or the end of the body, is left to chance
		}
		all = append(all, p)
	}
	return all
}

// request makes a request.
func (g *sameGenerator) request(c *sameConfig) *sameRequest {
	r := &sameRequest{proto: one(g, []string{"1.0", "1.1", "1.1", "1.1", "2", "2", "3"}), host: "app.test"}
	r.method, r.target = one(g, sameMethods), one(g, sameTargets)
	if g.chance(50) {
		r.target = "/path?q=1"
	}
	if r.overHTTP1() {
		r.tls = g.chance(20)
	} else if r.target == "/%" {
		r.target = "/"
	}
	for _, field := range some(g, 6, sameFields) {
		name, _, _ := strings.Cut(field, ":")
		if r.overHTTP1() || !slices.ContainsFunc(connectionFields, func(known string) bool { return strings.EqualFold(known, name) }) {
			r.fields = append(r.fields, field)
		}
	}
	if g.chance(40) || r.method == "POST" {
		g.addBody(r)
	}
	return r
}

// addBody gives a request a body.
func (g *sameGenerator) addBody(r *sameRequest) {
	r.framing = "length"
	r.body = strings.Repeat("body!", one(g, []int{0, 1, 20, 1000, 20_000}))
	if r.proto != "1.0" && g.chance(50) {
		if r.framing = "chunked"; g.chance(40) {
			r.trailer = []string{"X-Sum: 1"}
		}
	}
	r.expects = r.proto == "1.1" && r.body != "" && g.chance(15)
	if r.overHTTP1() && len(r.body) > 100 && g.chance(5) {
		r.cut = len(r.body) / 2
	}
}

// answer makes an answer: most are whole.
func (g *sameGenerator) answer(c *sameConfig) *sameAnswer {
	all := sameAnswers()
	switch {
	case c.shuffled:
		return ok()
	case g.chance(15):
		return one(g, all)
	}
	a := ok()
	a.status, a.fields = one(g, sameStatuses), append(a.fields, some(g, 4, sameAnswerFields)...)
	a.fields = slices.DeleteFunc(a.fields, func(field string) bool { return strings.HasPrefix(field, "Content-Length") })
	if strings.HasPrefix(a.status, "204") || strings.HasPrefix(a.status, "304") {
		a.framing, a.body = "", ""
		return a
	}
	a.framing = one(g, []string{"length", "length", "chunked", "close"})
	a.body = strings.Repeat("answer", one(g, []int{0, 1, 50, 1000, 30_000}))
	if a.framing == "chunked" && g.chance(20) {
		a.trailer = []string{"X-Sum: 1"}
	}
	if g.chance(10) {
		a.interim = []string{earlyHints}
	}
	if g.chance(10) {
		a.pieces, a.pause = 3, 2*time.Millisecond
	}
	if slices.ContainsFunc(c.transport, func(line string) bool { return strings.HasPrefix(line, "response_header_timeout") }) && g.chance(5) {
		a.late = 1500 * time.Millisecond // and the proxy has not waited so long
	}
	a.early = g.chance(5)
	return a
}
