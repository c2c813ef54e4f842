package proxyos

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestUpstreamsWithoutOptionsAreStringsInJSON(t *testing.T) {
	three, yes := 3, true
	for _, c := range []struct {
		name, text, encoded string
		want                Upstream
	}{
		{"a string", `"pve:8006"`, `"pve:8006"`, Upstream{Address: "pve:8006"}},
		{"an object with the address alone", `{"address": "pve:8006"}`, `"pve:8006"`, Upstream{Address: "pve:8006"}},
		{"dial as in reverse_proxy", `{"dial": "pve:8006"}`, `"pve:8006"`, Upstream{Address: "pve:8006"}},
		{
			"an object with options", `{"dial": "a:1", "max_requests": 5, "weight": 3, "skip_tls_verify": true}`,
			`{"address":"a:1","max_requests":5,"weight":3,"skip_tls_verify":true}`,
			Upstream{Address: "a:1", MaxRequests: 5, Weight: &three, SkipTLSVerify: &yes},
		},
		{
			"TLS settings", `{"address": "https://a:1", "tls": {"server_name": "b"}}`, `{"address":"https://a:1","tls":{"server_name":"b"}}`,
			Upstream{Address: "https://a:1", TLS: &reverseproxy.TLSConfig{ServerName: "b"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got Upstream
			if err := json.Unmarshal([]byte(c.text), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			encoded, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if string(encoded) != c.encoded {
				t.Errorf("encoded as %s, want %s", encoded, c.encoded)
			}
		})
	}
}

func TestZeroWeightSurvivesJSON(t *testing.T) {
	const text = `{"address":"a:1","weight":0,"skip_tls_verify":false}`
	var u Upstream
	if err := json.Unmarshal([]byte(text), &u); err != nil {
		t.Fatal(err)
	}
	if encoded, err := json.Marshal(u); err != nil || string(encoded) != text {
		t.Errorf("got %s, %v, want %s", encoded, err, text)
	}
}
