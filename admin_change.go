package proxyos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// maxAdminBody is the maximum size of the body of a request.
const maxAdminBody = 64 << 10

// readBody reads the body of a change.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, caddy.APIError{HTTPStatus: http.StatusRequestEntityTooLarge, Err: fmt.Errorf("the body is larger than %d bytes", maxAdminBody)}
	}
	if err != nil {
		return nil, badRequest(err)
	}
	return body, nil
}

// change is the body of a PATCH of a route.
type change struct {
	TrafficSplit *float64 `json:"traffic_split"`
	By           string   `json:"by"`
	Seen         string   `json:"seen,omitempty"`  // the version that is changed; if it is another one by now, nothing is
	Force        bool     `json:"force,omitempty"` // even if the group that is to get more cannot serve
}

func parseChange(body []byte) (change, error) {
	var c change
	if err := decodeChange(body, &c, `{"traffic_split": 25}`); err != nil {
		return change{}, err
	}
	if c.TrafficSplit == nil {
		return change{}, errors.New("traffic_split is missing; write {\"traffic_split\": 25}")
	}
	if err := checkPercent(*c.TrafficSplit); err != nil {
		return change{}, fmt.Errorf("traffic_split: %v %w", *c.TrafficSplit, err)
	}
	return c, checkBy(c.By)
}

func parseUpstreamChange(body []byte) (upstreamChange, error) {
	const example = `{"state": "drain"}, {"state": "ready"} or {"weight": 3}`
	var c upstreamChange
	if err := decodeChange(body, &c, example); err != nil {
		return upstreamChange{}, err
	}
	switch {
	case c.State == nil && c.Weight == nil:
		return upstreamChange{}, errors.New("state and weight are missing; write " + example)
	case c.State != nil && *c.State != stateDrain && *c.State != stateReady:
		return upstreamChange{}, fmt.Errorf("state: %q is none; write %q or %q", *c.State, stateDrain, stateReady)
	}
	if c.Weight != nil {
		if err := checkWeight(*c.Weight); err != nil {
			return upstreamChange{}, err
		}
	}
	return c, checkBy(c.By)
}

// decodeChange decodes the body of a PATCH, of which an example is given.
func decodeChange(body []byte, into any, example string) error {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decoding the body: %w; write %s", err, example)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("decoding the body: there is more than one value; write %s", example)
	}
	return nil
}

// maxBy is the largest length of who makes a change, in bytes.
const maxBy = 200

func checkBy(by string) error {
	if len(by) > maxBy {
		return fmt.Errorf("by: the text has %d bytes; write at most %d", len(by), maxBy)
	}
	return nil
}
