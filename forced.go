package proxyos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

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

// decide tells whether the group of a request is forced, and to which.
func (f *forced) decide(r *http.Request) (forced, toStaging bool, err error) {
	if len(f.production) > 0 {
		if matches, err := f.production.AnyMatchWithError(r); matches || err != nil {
			return true, false, err
		}
	}
	if len(f.staging) > 0 {
		if matches, err := f.staging.AnyMatchWithError(r); matches || err != nil {
			return true, true, err
		}
	}
	return false, false, nil
}

// Interface guards
var (
	_ json.Unmarshaler = (*matcherSets)(nil)
	_ json.Marshaler   = (matcherSets)(nil)
)
