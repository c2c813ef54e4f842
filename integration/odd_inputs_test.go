package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// Whatever is wrong with what somebody writes, the answer says what to do about it. There are three
// tables: the command line, the Caddyfile and the admin API.

func TestOddCommandLinesAreToldWhatToDo(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag, "traffic_split 10")+"http://"+freeAddr(t)+" {\nproxyos "+prod.Addr+" {\nname single\n}\n}\n"+
		"http://unnamed.example {\nproxyos "+prod.Addr+"\n}\n"))
	c.Start()
	const notPercent, outside = "is not a percentage; write a number from 0 to 100", "is outside 0 to 100"
	for i, test := range []struct {
		line string
		code int
		want string
	}{
		{"promot app", 1, "did you mean promote?"},
		{"lst", 1, "did you mean list?"},
		{"shwo app", 1, "did you mean show?"},
		{"PROMOTE app", 1, "did you mean promote?"},
		{"deploy app", 1, "`caddy proxyos --help` lists them"},
		{"list app", 2, "list takes no argument"},
		{"list --jsn", 2, "`caddy proxyos list --help` lists the flags"},
		{"--jsn", 2, "flags come after a command"},
		{"--json list", 2, "the flags of list come after it"},
		{"list --address http://localhost:2019", 2, "write one such as localhost:2019"},
		{"show", 2, "<name> is missing"},
		{"show unnamed.example", 1, "add `name <name>` to it"},
		{"split (unnamed.example) 10", 1, "add `name <name>` to it"},
		{"show |", 2, "<name> is empty"},
		{"show app shop", 2, `"shop" is one argument too many`},
		{"show ap", 1, "did you mean app?"},
		{"show App", 1, "did you mean app?"},
		{"show other", 1, "`caddy proxyos list` shows those that there are"},
		{"show a/b", 1, "there is no proxyos route named \"a/b\""},
		{"show ../config", 1, "there is no proxyos route named"},
		{"split", 2, "<name> is missing"},
		{"split app", 2, "<percent> is missing"},
		{"split 25 app", 2, notPercent},
		{"split app half", 2, notPercent},
		{"split app 25percent", 2, notPercent},
		{"split app 1e1", 2, notPercent},
		{"split app NaN", 2, notPercent},
		{"split app Inf", 2, notPercent},
		{"split app 10,5", 2, notPercent},
		{"split app 0x10", 2, notPercent},
		{"split app |", 2, notPercent},
		{"split app 101", 2, outside},
		{"split app -5", 2, outside},
		{"split app -0.5%", 2, outside},
		{"split app -- -5", 2, outside},
		{"split app 25 %", 2, `"%" is one argument too many`},
		{"split single 10", 1, "add `staging <addresses...>` to its config"},
		{"split nobody 10", 1, "`caddy proxyos list` shows those that there are"},
		{"promote", 2, "<name> is missing"},
		{"promote app --drain", 2, "`caddy proxyos promote --help` lists the flags"},
		{"promote app --drain soon", 2, "write one such as 30s or 2m"},
		{"promote app --drain=-1s", 2, "write how long to wait, or 0 to not wait"},
		{"promote app --wait 5s", 2, "`caddy proxyos promote --help` lists the flags"},
		{"promote --drain 5s", 2, "<name> is missing"},
		{"rollback single", 1, "add `staging <addresses...>` to its config"},
		{"reset", 2, "<name> is missing"},
		{"reset nobody", 1, "`caddy proxyos list` shows those that there are"},
		{"explain", 2, "explain takes addresses, such as pve:8006, or --config <path>"},
		{"explain --config x app:1", 2, "not both"},
		{"probe", 2, "probe takes addresses, such as pve:8006"},
		{"probe --timeout 0 app:1", 2, "write a time longer than 0, such as 5s"},
	} {
		if i%lab.Sized(2, 1, 1) != 0 {
			continue // each starts a process of its own
		}
		var args []string
		for _, field := range strings.Fields(test.line) {
			args = append(args, strings.TrimSuffix(field, "|"))
		}
		if i := len(args) - 1; !strings.HasPrefix(args[0], "-") && !strings.Contains(test.line, "--address") && args[0] != "explain" && args[0] != "probe" && args[i] != "--drain" && args[max(0, i-1)] != "--" {
			args = append(args, "--address", c.Admin)
		}
		output, err := c.CLI(append([]string{"proxyos"}, args...)...).CombinedOutput()
		flat := strings.Join(strings.Fields(string(output)), " ")
		code := 0
		if err != nil {
			code = lab.ExitCode(err)
		}
		if code != test.code || !strings.Contains(flat, test.want) || !strings.HasPrefix(flat, "Error: ") {
			t.Errorf("caddy proxyos %s exits with %d, want %d with %q:\n%s", test.line, code, test.code, test.want, output)
		}
	}
	if r := c.Route(); r.TrafficSplit != 10 {
		t.Errorf("a command that failed has made the split %v %%", r.TrafficSplit)
	}
}

func TestOddCaddyfilesAreToldWhatToDo(t *testing.T) {
	s := newServer(t)
	for directive, want := range map[string]string{
		"proxyos":                    "write one, such as app:3000",
		"proxyos 3000":               "write localhost:3000 for a port of this machine",
		"proxyos * /run/app.sock":    "write unix//run/app.sock for a socket",
		"proxyos a:1 {\nweight 2\n}": "write `upstream <address> {...}` with weight in its block",
		"proxyos a:1 {\nstaging b:1\nstaging_when @crew\n}":          "staging_when: unrecognized matcher name: @crew, at Caddyfile:",
		"proxyos app:3000/api":                                       "write only the host and the port",
		"proxyos app:70000":                                          "is not a number from 1 to 65535",
		"proxyos app:":                                               "app",
		"proxyos wss://app":                                          "use https://app",
		"proxyos ftp://app":                                          "write http://, https:// or h2c://",
		"proxyos http://":                                            "write",
		"proxyos ::1:80":                                             "[",
		"proxyos a:1,b:1":                                            "separate several with spaces",
		"proxyos https://{env.X}":                                    "write the address without the scheme",
		"proxyos http://{env.X}:8443":                                "put a well-known HTTPS port into the value",
		"proxyos {env.X:80":                                          "write it as {env.APP}:8443",
		"proxyos user@app:80":                                        "",
		"proxyos a:1 {\nstagging b\n}":                               "did you mean staging?",
		"proxyos a:1 {\ntraffic 5\n}":                                "did you mean traffic_split?",
		"proxyos a:1 {\nnmae x\n}":                                   "did you mean name?",
		"proxyos a:1 {\nstaging b:1\n}":                              "add `traffic_split <percent>` or `staging_when <matcher>`",
		"proxyos a:1 {\ntraffic_split 10\n}":                         "add `staging <addresses...>`, or remove traffic_split",
		"proxyos a:1 {\nstaging {\n}\ntraffic_split 10\n}":           "write one, such as app:3000",
		"proxyos a:1 {\nstaging b:1\ntraffic_split ten\n}":           "write a number from 0 to 100",
		"proxyos a:1 {\nsticky cookie\n}":                            "add `staging <addresses...>`, or remove sticky",
		"proxyos a:1 {\nstaging b:1\nsticky session\n}":              "sticky takes",
		"proxyos a:1 {\nstaging b:1\nsticky key user\n}":             "write a placeholder",
		"proxyos a:1 {\nstaging b:1\nstaging_when *\n}":              "write `traffic_split` instead",
		"proxyos a:1 {\nstaging b:1\nstaging_when\n}":                "write one, such as",
		"proxyos a:1 {\nname \"my app\"\n}":                          "write 1 to 64 letters",
		"proxyos {\nupstream a:1 {\nweight 0\n}\n}":                  "give one a weight from 1 to 1000",
		"proxyos {\nupstream a:1 {\nweight 2\n}\nlb_policy first\n}": "remove lb_policy, or the weights",
		"proxyos {\nupstream a:1 {\ntls_pin abc\n}\n}":               "pin",
		"proxyos {\nupstream a:1 {\ntls_pin " + strings.Repeat("ab", 32) + "\n}\n}": "write https://a:1",
		"proxyos {\nupstream a:1 b:1\n}":                                            "write `to` for several addresses",
		"proxyos pve:8006 http://pve:8006":                                          "write both the same way",
		"proxyos a:1 {\nretry_buffer lots\n}":                                       "write one such as 64KiB",
		"proxyos a:1 {\nskip_tls_verify perhaps\n}":                                 "takes on or off",
	} {
		err := s.Load(s.Site(directive))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is rejected with %v, want %q", directive, err, want)
		}
	}
}

func TestOddAdminRequestsAreToldWhatToDo(t *testing.T) {
	s, _, _ := blueGreen(t, "traffic_split 10")
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PATCH", "app", ``, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `25`, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `{"split": 25}`, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `{"traffic_split": "25"}`, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `{"traffic_split": 25} {}`, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `{"traffic_split": null}`, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `{"traffic_split": 250}`, 400, "is outside 0 to 100"},
		{"PATCH", "app", `{"traffic_split": 25, "force": "yes"}`, 400, `write {"traffic_split": 25}`},
		{"PATCH", "app", `{"traffic_split": 25, "by": "` + strings.Repeat("x", 201) + `"}`, 400, "write at most 200"},
		{"PATCH", "nobody", `{"traffic_split": 25}`, 404, "GET /proxyos/routes lists all routes"},
		{"POST", "app", `{"traffic_split": 25}`, 405, "use GET or PATCH"},
		{"GET", "app/override", ``, 405, "use DELETE"},
		{"DELETE", "app", ``, 405, "use GET or PATCH"},
	} {
		status, answer := s.Ask(test.method, "/proxyos/routes/"+test.path, test.body)
		if message := fmt.Sprint(lab.Decode[map[string]any](t, answer)["error"]); status != test.status || !strings.Contains(message, test.want) {
			t.Errorf("%s %s %.40s: %d %s, want %d with %q", test.method, test.path, test.body, status, message, test.status, test.want)
		}
	}
}
