package main

import (
	"context"
	"fmt"
	"strings"
)

// selections is how many requests go through each handler in this process.
const selections = 1_000_000

// spread is how a series of requests was divided.
type spread struct {
	requests  int
	staging   int
	worst     float64 // the largest deviation of staging from its share, at any prefix
	worstAt   int
	burst     int // the most requests in a row that went to staging
	inBurst   int
	share     float64
	different int // answers from neither group
}

func newSpread(share float64) *spread { return &spread{share: share} }

// add counts the next request.
func (s *spread) add(group string) {
	s.requests++
	switch group {
	case staging:
		s.staging++
		s.inBurst++
		s.burst = max(s.burst, s.inBurst)
	case production:
		s.inBurst = 0
	default:
		s.different++
	}
	off := float64(s.staging) - float64(s.requests)*s.share
	if off = max(off, -off); off > s.worst+1e-6 { // beyond rounding
		s.worst, s.worstAt = off, s.requests
	}
}

// splitCase is one way to configure nine requests of ten.
type splitCase struct {
	proxy   contender
	weights [2]int
	how     string
	inside  string // the JSON of the handler, to be run in this process as well
}

func splitCases() []splitCase {
	named := make(map[string]contender)
	for _, c := range contenders() {
		named[c.name] = c
	}
	ours, stock, nginx, haproxy := named[proxyosName], named[stockName], named[nginxName], named[haproxyName]
	hashed := nginx
	hashed.config = nginxSplitConfig
	return []splitCase{
		{ours, [2]int{9, 1}, "traffic_split 10", proxyosJSON},
		{stock, [2]int{9, 1}, "weighted_round_robin 9 1", stockJSON(9, 1)},
		{stock, [2]int{90, 10}, "weighted_round_robin 90 10", stockJSON(90, 10)},
		{nginx, [2]int{9, 1}, "upstream, weight=9 and weight=1", ""},
		{nginx, [2]int{90, 10}, "upstream, weight=90 and weight=10", ""},
		{hashed, [2]int{}, "split_clients $request_id, 10%", ""},
		{haproxy, [2]int{9, 1}, "roundrobin, weight 9 and 1", ""},
		{haproxy, [2]int{90, 10}, "roundrobin, weight 90 and 10", ""},
	}
}

const proxyosJSON = `{
	"upstreams": ["production:80"], "staging": {"upstreams": ["staging:80"]}, "traffic_split": 10,
	"transport": {"protocol": "bench"}
}`

func stockJSON(productionWeight, stagingWeight int) string {
	return fmt.Sprintf(`{
		"upstreams": [{"dial": "production:80"}, {"dial": "staging:80"}],
		"load_balancing": {"selection_policy": {"policy": "weighted_round_robin", "weights": [%d, %d]}},
		"transport": {"protocol": "bench"}
	}`, productionWeight, stagingWeight)
}

// measureSpread measures how far a 90/10 split strays from its share.
func measureSpread(ctx context.Context, l *lab, opts options) error {
	t := newTable("proxy", "split by", "measured", "requests", "to staging", "worst deviation at any prefix", "at request", "longest run to staging")
	add := func(c splitCase, where string, s *spread) {
		t.add(c.proxy.name, c.how, where, thousands(float64(s.requests)), thousands(float64(s.staging)),
			fmt.Sprintf("%.1f", s.worst), thousands(float64(s.worstAt)), fmt.Sprint(s.burst))
		progress("%s, %s, %s: %d of %d to staging, worst deviation %.1f", c.proxy.name, c.how, where, s.staging, s.requests, s.worst)
	}
	cases := splitCases()
	for _, c := range cases {
		if c.inside == "" {
			continue
		}
		name := stockHandlerID
		if c.proxy.name == proxyosName {
			name = proxyosHandlerID
		}
		inside, err := spreadInside(ctx, name, c.inside)
		if err != nil {
			return fmt.Errorf("%s: %w", c.proxy.name, err)
		}
		add(c, "handler", inside)
	}
	for _, c := range cases {
		running, err := spreadOfRunning(ctx, l, c, opts.spread)
		if err != nil {
			return fmt.Errorf("%s: %w", c.proxy.name, err)
		}
		add(c, "running", running)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Command: `%s`. One request after another. Handler: the Caddy handler in the measuring process, with a transport that only records the upstream. Running: the whole proxy, over one connection. The deviation is counted in requests.\n\n", commandLine())
	text.WriteString(describeMachine() + "\n" + t.String())
	return spreadPage.write(opts.out, text.String())
}

// spreadOfRunning sends requests through a running proxy, one after another.
func spreadOfRunning(ctx context.Context, l *lab, c splitCase, requests int) (*spread, error) {
	defer l.stopAll()
	addresses, err := freeAddresses(4)
	if err != nil {
		return nil, err
	}
	for i, group := range []string{production, staging} {
		if _, err := l.startBackend(ctx, addresses[i], group); err != nil {
			return nil, err
		}
	}
	s := site{Production: addresses[0], Staging: addresses[1], Listen: addresses[2], Admin: addresses[3], Weights: c.weights}
	if _, err := c.proxy.run(ctx, l, s); err != nil {
		return nil, err
	}
	client, err := dialKeepAlive(s.Listen)
	if err != nil {
		return nil, err
	}
	defer client.close()
	result := newSpread(0.1)
	for range requests {
		group, err := client.get()
		if err != nil {
			return nil, err
		}
		result.add(group)
		if result.different > 0 {
			return nil, fmt.Errorf("an answer is from neither group: %q", group)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return result, nil
}
