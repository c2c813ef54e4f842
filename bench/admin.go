package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
)

// caddyAdmin is the address of a Caddy's admin endpoint.
type caddyAdmin string

func (a caddyAdmin) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+string(a)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Close = true // so that no idle connection is counted as the proxy's
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, err
}

// load replaces the config, even with an equal one.
func (a caddyAdmin) load(ctx context.Context, contentType string, config []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+string(a)+"/load", bytes.NewReader(config))
	if err != nil {
		return err
	}
	req.Close = true
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Cache-Control", "must-revalidate")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("loading the configuration: %s: %s", resp.Status, answer)
	}
	return err
}

func (a caddyAdmin) cpuProfile(ctx context.Context, seconds int) ([]byte, error) {
	return a.do(ctx, http.MethodGet, "/debug/pprof/profile?seconds="+strconv.Itoa(seconds), "", nil)
}

// footprint is what a Caddy holds after a garbage collection.
type footprint struct {
	heap       int // bytes of live objects
	memory     int // bytes of heap and stacks in use
	goroutines int
}

var (
	heapAlloc      = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)
	heapInUse      = regexp.MustCompile(`(?m)^# HeapInuse = (\d+)$`)
	stackInUse     = regexp.MustCompile(`(?m)^# Stack = (\d+) /`)
	goroutineTotal = regexp.MustCompile(`(?m)^goroutine profile: total (\d+)$`)
)

// footprint measures after collecting garbage, twice because of finalizers.
func (a caddyAdmin) footprint(ctx context.Context) (footprint, error) {
	var f footprint
	goroutines, err := a.do(ctx, http.MethodGet, "/debug/pprof/goroutine?debug=1", "", nil)
	if err != nil {
		return f, err
	}
	if _, err := a.do(ctx, http.MethodGet, "/debug/pprof/heap?gc=1", "", nil); err != nil {
		return f, err
	}
	heap, err := a.do(ctx, http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "", nil)
	if err != nil {
		return f, err
	}
	inUse, stacks := 0, 0
	for _, one := range []struct {
		pattern *regexp.Regexp
		text    []byte
		value   *int
	}{
		{goroutineTotal, goroutines, &f.goroutines}, {heapAlloc, heap, &f.heap},
		{heapInUse, heap, &inUse}, {stackInUse, heap, &stacks},
	} {
		match := one.pattern.FindSubmatch(one.text)
		if match == nil {
			return f, fmt.Errorf("no %q in the profile", one.pattern)
		}
		if *one.value, err = strconv.Atoi(string(match[1])); err != nil {
			return f, err
		}
	}
	f.memory = inUse + stacks
	return f, nil
}
