package proxyos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// matcherSets is a list of matcher sets of which one must match. In JSON a single set
// stands for a list of one.
type matcherSets []caddy.ModuleMap

// UnmarshalJSON decodes one matcher set, or a list of them.
func (m *matcherSets) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var one caddy.ModuleMap
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		*m = matcherSets{one}
		return nil
	}
	return json.Unmarshal(data, (*[]caddy.ModuleMap)(m))
}

// MarshalJSON encodes a list of one as that one, but for a null, which would mean no list.
func (m matcherSets) MarshalJSON() ([]byte, error) {
	if len(m) == 1 && m[0] != nil {
		return json.Marshal(m[0])
	}
	return json.Marshal([]caddy.ModuleMap(m))
}

// forced is the requests whose group is not left to the split.
type forced struct {
	staging, production caddyhttp.MatcherSets
	failures            *matcherFailures // nil if there are no matchers
}

// forcedConfig is the matchers of a route before they are loaded.
type forcedConfig struct {
	StagingWhen    matcherSets `caddy:"namespace=http.matchers"`
	ProductionWhen matcherSets `caddy:"namespace=http.matchers"`
}

// load loads the matchers.
func (c *forcedConfig) load(ctx caddy.Context) (f forced, err error) {
	for _, option := range []struct {
		name, field string
		given       matcherSets
		matchers    *caddyhttp.MatcherSets
	}{
		{"staging_when", "StagingWhen", c.StagingWhen, &f.staging},
		{"production_when", "ProductionWhen", c.ProductionWhen, &f.production},
	} {
		if len(option.given) == 0 {
			continue
		}
		modules, err := ctx.LoadModule(c, option.field)
		if err != nil {
			return f, fmt.Errorf("%s: %w", option.name, err)
		}
		if err := option.matchers.FromInterface(modules); err != nil {
			return f, fmt.Errorf("%s: %w", option.name, err)
		}
	}
	return f, nil
}

// decide tells whether the group of a request is forced, and to which. A set of matchers that
// fails counts as one that does not match: no request fails because of steering. err says what
// failed.
func (f *forced) decide(r *http.Request) (forced, toStaging bool, err error) {
	if len(f.production) == 0 && len(f.staging) == 0 {
		return false, false, nil
	}
	matches, productionErr := anyMatches(f.production, r)
	if matches {
		return true, false, inOption("production_when", productionErr)
	}
	matches, stagingErr := anyMatches(f.staging, r)
	if productionErr == nil {
		return matches, matches, inOption("staging_when", stagingErr)
	}
	if stagingErr == nil {
		return matches, matches, inOption("production_when", productionErr)
	}
	return matches, matches, fmt.Errorf("production_when: %w; staging_when: %w", productionErr, stagingErr)
}

// anyMatches tells whether a request matches one of the sets, and returns the first error of
// those that failed before.
func anyMatches(sets caddyhttp.MatcherSets, r *http.Request) (matches bool, first error) {
	for _, set := range sets {
		matches, err := set.MatchWithError(r)
		if err == nil && matches {
			return true, first
		}
		if err == nil {
			continue
		}
		first = cmp.Or(first, err)
		if vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
			//lint:ignore SA1019 the next old matcher that does not match would fail with what is left in it
			delete(vars, caddyhttp.MatcherErrorVarKey)
		}
	}
	return false, first
}

// inOption adds the name of an option to an error, if there is one.
func inOption(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// matcherLogInterval is the time between a route's warnings that matchers fail.
const matcherLogInterval = time.Minute

// matcherFailures logs that matchers of a route fail.
type matcherFailures struct {
	route  string
	logger *zap.Logger
	now    func() time.Time

	mu     sync.Mutex
	logged time.Time
	count  int // of requests since then
}

func newMatcherFailures(route string, logger *zap.Logger) *matcherFailures {
	return &matcherFailures{route: route, logger: logger, now: time.Now}
}

// note logs what failed on a request, unless something was logged less than a minute ago.
func (m *matcherFailures) note(err error) {
	m.mu.Lock()
	m.count++
	now, count := m.now(), m.count
	if !m.logged.IsZero() && now.Sub(m.logged) < matcherLogInterval {
		m.mu.Unlock()
		return
	}
	m.logged, m.count = now, 0
	m.mu.Unlock()
	m.logger.Warn("a matcher fails, and counts as one that does not match",
		zap.String("route", m.route), zap.Int("requests", count), zap.Error(err))
}

// Interface guards
var (
	_ json.Unmarshaler = (*matcherSets)(nil)
	_ json.Marshaler   = (matcherSets)(nil)
)
