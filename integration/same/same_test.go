package same

import (
	"slices"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// The tests in this folder, but for express_*_test.go, prove that nobody can tell the difference: between
// proxyos with its fast path on and off, and between proxyos and reverse_proxy, but for what
// docs/differences.md says. A pair is a request to a configuration, with what the upstreams
// answer. It is tried in all ways, each with upstreams of its own, and all that can be seen of
// it is compared: by the upstreams, by the client, in the logs, metrics and the status.

// get is a plain request.
func get(proto string, fields ...string) *sameRequest {
	return &sameRequest{proto: proto, method: "GET", target: "/path?q=1", host: "app.test", fields: fields}
}

// post is a request with a body of a known length.
func post(proto, body string) *sameRequest {
	return &sameRequest{proto: proto, method: "POST", target: "/form", host: "app.test", framing: "length", body: body}
}

// ok is a plain answer.
func ok() *sameAnswer {
	return &sameAnswer{status: "200 OK", fields: []string{"Content-Type: text/plain", "X-App: one"}, framing: "length", body: "hello"}
}

func TestEveryRequestIsTheSameInAllWays(t *testing.T) {
	checkAll(t, []*sameConfig{{upstreams: []string{"plain"}}}, func(int) ([]*samePair, string) {
		var pairs []*samePair
		for _, request := range sameRequests() {
			pairs = append(pairs, &samePair{request, ok()})
		}
		return pairs, "it is in the table of requests"
	})
}

func TestEveryAnswerIsTheSameInAllWays(t *testing.T) {
	answers := sameAnswers()
	parts := slices.Collect(slices.Chunk(answers, len(answers)/lab.Sized(3, 1, 1)+1)) // each waits most of the time
	configs := make([]*sameConfig, len(parts))
	for i := range configs {
		configs[i] = &sameConfig{upstreams: []string{"plain"}}
	}
	checkAll(t, configs, func(i int) ([]*samePair, string) {
		var pairs []*samePair
		for _, answer := range parts[i] {
			head := get("1.1")
			head.method = "HEAD"
			for _, request := range []*sameRequest{get("1.1"), get("1.0"), get("2"), get("3"), post("1.1", "some text"), head} {
				pairs = append(pairs, &samePair{request, answer})
			}
		}
		return pairs, "it is in the table of answers"
	})
}

func TestEveryConfigurationIsTheSameInAllWays(t *testing.T) {
	for configs := range slices.Chunk(sameConfigs(), configsPerCaddy) {
		checkConfigs(t, configs)
	}
}

func checkConfigs(t *testing.T, configs []*sameConfig) {
	t.Run(configs[0].String(), func(t *testing.T) {
		checkAll(t, configs, func(int) ([]*samePair, string) {
			failing := &sameAnswer{ending: "close"}
			return []*samePair{
				{get("1.1"), ok()}, {get("2"), ok()}, {get("3"), ok()}, {post("1.1", "some text"), ok()},
				{get("1.1", "X-Forwarded-For: 7.7.7.7", "X-Real-IP: 6.6.6.6", "X-Up: 1"), ok()},
				{get("1.1"), failing}, {get("1.1"), ok()}, {post("1.1", "some text"), failing}, {post("2", "some text"), ok()},
			}, "it is in the table of configurations"
		})
	})
}

func TestEveryUpgradeIsTheSameInAllWays(t *testing.T) {
	upgrade := func(fields ...string) *sameAnswer {
		return &sameAnswer{status: "101 Switching Protocols", fields: fields, upgrade: true}
	}
	checkAll(t, []*sameConfig{{upstreams: []string{"plain"}}, {upstreams: []string{"unix"}}, {upstreams: []string{"tls"}}}, func(int) ([]*samePair, string) {
		socket := get("1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc", "Sec-WebSocket-Version: 13")
		other := get("1.1", "Connection: upgrade, X-Hop", "Upgrade: foo", "X-Hop: 1")
		return []*samePair{
			{socket, upgrade("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: xyz")},
			{socket, upgrade("Connection: upgrade", "Upgrade: WebSocket", "X-App: one")},
			{socket, upgrade("Connection: Upgrade", "Upgrade: foo")},
			{other, upgrade("Connection: Upgrade", "Upgrade: foo", "Set-Cookie: a=b", "Set-Cookie: c=d")},
			{socket, ok()}, {other, &sameAnswer{status: "426 Upgrade Required", fields: []string{"Upgrade: foo", "Connection: Upgrade"}, framing: "length", body: "no"}},
			{get("1.1"), ok()},
		}, "it is in the table of upgrades"
	})
}
