package proxyos

import (
	"cmp"
	"encoding/json"
	"fmt"
)

// groupPlan is what a Group means.
type groupPlan struct {
	name     string
	config   Group
	backends []backend
	lanes    []lanePlan // one for each backend; none if the route's transport is not http
	byPort   portLanePlans
}

// isDynamic tells whether the group has a source of upstreams that are known only at
// request time.
func (g *groupPlan) isDynamic() bool { return len(g.config.DynamicUpstreamsRaw) > 0 }

// policy returns the selection policy that is written for the group, or nil.
func (g *groupPlan) policy() json.RawMessage {
	if g.config.LoadBalancing == nil {
		return nil
	}
	return g.config.LoadBalancing.SelectionPolicyRaw
}

// stagingPolicy returns the policy that is written for staging, completed: the cookies of
// both groups need names of their own, or each would undo what the other remembers.
func stagingPolicy(production, staging json.RawMessage) (json.RawMessage, error) {
	name, isCookie := cookiePolicy(staging)
	if !isCookie {
		return staging, nil
	}
	if name == "" {
		fields, err := decodeObject(staging)
		if err != nil {
			return nil, err
		}
		name, fields["name"] = defaultStagingCookie, encode(defaultStagingCookie)
		staging = encode(fields)
	}
	if other, isCookie := cookiePolicy(production); isCookie && cmp.Or(other, defaultPolicyCookie) == name {
		return nil, fmt.Errorf("lb_policy cookie: production's cookie has the name %q, too; give staging's another one, such as %q", name, defaultStagingCookie)
	}
	return staging, nil
}

// The names of the cookies of lb_policy cookie where none is written: Caddy's, and staging's.
const (
	defaultPolicyCookie  = "lb"
	defaultStagingCookie = "lb_staging"
)

// policyName returns the name of a policy, or nothing where it is not valid, which loading it
// will say.
func policyName(raw json.RawMessage) string {
	var policy struct {
		Policy string `json:"policy"`
	}
	_ = json.Unmarshal(raw, &policy)
	return policy.Policy
}

// cookiePolicy returns the name of a policy's cookie, if it is one of cookies.
func cookiePolicy(raw json.RawMessage) (name string, isCookie bool) {
	var policy struct {
		Policy string `json:"policy"`
		Name   string `json:"name"`
	}
	if json.Unmarshal(raw, &policy) != nil {
		return "", false // which loading it will say
	}
	return policy.Name, policy.Policy == "cookie"
}
