package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// change is what somebody asks for by a control of the page. Only what is in the table of actions can
// be asked for, so the page leads nowhere else.
type change struct {
	Action   string   `json:"action"`
	Route    string   `json:"route"`
	Upstream string   `json:"upstream"` // its dial address
	Percent  *float64 `json:"percent"`
	Weight   *int     `json:"weight"`
	Force    bool     `json:"force"` // even if nobody can serve
	Seen     string   `json:"seen"`  // the version of what is changed that was on the page
}

// action is something that can be asked for: what must be said with it, and what it asks of the source.
type action struct {
	of            string // what is changed, below the route: "", "release" or "upstreams"
	needs         string // "percent", "weight" or nothing
	takesForce    bool
	method        string
	below         string // what is asked, below that
	fields        map[string]any
	isInformative bool // its answer is for the page, and it changes nothing
}

var actions = map[string]action{
	"split":           {method: http.MethodPatch, needs: "percent", takesForce: true},
	"reset":           {method: http.MethodDelete, below: "override"},
	"drain":           {of: "upstreams", method: http.MethodPatch, takesForce: true, fields: map[string]any{"state": "drain"}},
	"ready":           {of: "upstreams", method: http.MethodPatch, takesForce: true, fields: map[string]any{"state": "ready"}},
	"weight":          {of: "upstreams", method: http.MethodPatch, takesForce: true, needs: "weight"},
	"reset_upstream":  {of: "upstreams", method: http.MethodDelete, takesForce: true, below: "override"},
	"probe":           {of: "upstreams", method: http.MethodPost, below: "probe", isInformative: true},
	"release_start":   {of: "release", method: http.MethodPost, takesForce: true, fields: map[string]any{"action": "start"}},
	"release_pause":   {of: "release", method: http.MethodPost, takesForce: true, fields: map[string]any{"action": "pause"}},
	"release_resume":  {of: "release", method: http.MethodPost, takesForce: true, fields: map[string]any{"action": "resume"}},
	"release_approve": {of: "release", method: http.MethodPost, takesForce: true, needs: "percent", fields: map[string]any{"action": "approve"}},
	"release_abort":   {of: "release", method: http.MethodPost, takesForce: true, fields: map[string]any{"action": "abort"}},
}

// parseChange reads what the page has sent.
func parseChange(body []byte) (*change, error) {
	c := new(change)
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("decoding the change: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("decoding the change: there is more than one value")
	}
	return c, c.check()
}

// check tells what is missing, and what is too much. Whether the values are good is for the source to
// say.
func (c *change) check() error {
	a, ok := actions[c.Action]
	if !ok {
		return fmt.Errorf("action: %q is none; write one of %s", short(c.Action), strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
	}
	if err := checkSegment("route", c.Route, true); err != nil {
		return err
	}
	if err := checkSegment("upstream", c.Upstream, a.of == "upstreams"); err != nil {
		return err
	}
	for _, field := range []struct {
		name  string
		is    bool
		fits  bool
		needs bool
	}{
		{"percent", c.Percent != nil, a.needs == "percent", a.needs == "percent"},
		{"weight", c.Weight != nil, a.needs == "weight", a.needs == "weight"},
		{"force", c.Force, a.takesForce, false},
		{"seen", c.Seen != "", !a.isInformative, false},
	} {
		switch {
		case field.is && !field.fits:
			return fmt.Errorf("%s: the action %s takes none; leave it out", field.name, c.Action)
		case field.needs && !field.is:
			return fmt.Errorf("%s is missing, which the action %s needs", field.name, c.Action)
		}
	}
	return nil
}

// checkSegment checks a part of a path. One that consists of dots would be taken for a way up.
func checkSegment(what, text string, isNeeded bool) error {
	switch {
	case text == "" && isNeeded:
		return fmt.Errorf("%s is missing", what)
	case text != "" && !isNeeded:
		return fmt.Errorf("%s: the action is not for one; leave it out", what)
	case text == "." || text == "..":
		return fmt.Errorf("%s: %q is none", what, text)
	}
	return nil
}

// call is a request to the source.
type call struct {
	method, path string
	body         []byte
}

// call returns what the change asks of the source, by somebody. It must have been checked.
func (c *change) call(by string) (call, error) {
	a := actions[c.Action]
	path := url.PathEscape(c.Route)
	if a.of != "" {
		path += "/" + a.of
	}
	if c.Upstream != "" {
		path += "/" + url.PathEscape(c.Upstream)
	}
	if a.below != "" {
		path += "/" + a.below
	}
	said := c.said(a, by)
	if a.method == http.MethodDelete {
		query := make(url.Values)
		for name, value := range said {
			query.Set(name, fmt.Sprint(value))
		}
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		return call{method: a.method, path: path}, nil
	}
	body, err := json.Marshal(said)
	return call{a.method, path, body}, err
}

// said is what is said with the change.
func (c *change) said(a action, by string) map[string]any {
	said := make(map[string]any)
	if a.isInformative {
		return said
	}
	maps.Copy(said, a.fields)
	switch {
	case c.Percent != nil && a.of == "":
		said["traffic_split"] = *c.Percent
	case c.Percent != nil:
		said["percent"] = *c.Percent
	case c.Weight != nil:
		said["weight"] = *c.Weight
	}
	if by != "" {
		said["by"] = by
	}
	if c.Force {
		said["force"] = true
	}
	if c.Seen != "" {
		said["seen"] = c.Seen
	}
	return said
}
