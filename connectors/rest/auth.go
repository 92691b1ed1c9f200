// Authentication: from a manifest and a user mapping to what transport does.

package rest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// grant is a way to authenticate by OAuth2, and the options that it needs.
type grant struct {
	name  string
	needs []string
	may   []string
}

func grants() []grant {
	return []grant{
		{name: "token", needs: []string{"token"}},
		{name: "refresh_token", needs: []string{"client_id", "refresh_token"}, may: []string{"client_secret"}},
		{name: "authorization_code", needs: []string{"client_id", "authorization"}, may: []string{"client_secret"}},
		{name: "jwt_bearer", needs: []string{"client_id", "private_key", "user"}, may: []string{"client_secret", "key_id"}},
		{name: "password", needs: []string{"client_id", "user", "password"}, may: []string{"client_secret"}},
		{name: "client_credentials", needs: []string{"client_id", "client_secret"}},
	}
}

// offered are the grants that the manifest names, in its order.
func (a *Auth) offered() []grant {
	var out []grant
	all := grants()
	for _, name := range a.Grants {
		if i := slices.IndexFunc(all, func(g grant) bool { return g.name == name }); i >= 0 {
			out = append(out, all[i])
		}
	}
	return out
}

// grant is the first that a user mapping has all options of; nil: none.
func (a *Auth) grant(credential map[string]string) *grant {
	for _, g := range a.offered() {
		if !slices.ContainsFunc(g.needs, func(n string) bool { return credential[n] == "" }) {
			return &g
		}
	}
	return nil
}

// lacking is the error of a credential that is not enough: an option is missing,
// or with oauth2 one set of them.
func (a *Auth) lacking(api string, server connectors.ServerSpec, missing string) error {
	e := &connectors.Error{Class: connectors.InvalidOption, API: api}
	var needs string
	if a.Type == "oauth2" {
		var ways []string
		for _, g := range a.offered() {
			ways = append(ways, strings.Join(g.needs, ", "))
		}
		e.Message = "the user mapping's options are not enough to authenticate"
		needs = "one of these sets of options: " + strings.Join(ways, "; ")
		e.Hint = "Give " + needs + "."
	} else {
		var names []string
		for _, name := range []string{"user", "password", "token", "api_key", "client_id", "client_secret"} {
			if a.takes(name) {
				names = append(names, name)
			}
		}
		e.Message = fmt.Sprintf("user mapping option %q is missing", missing)
		needs = strings.Join(names, ", ")
		e.Hint = fmt.Sprintf("The API is used with auth %s: ALTER USER MAPPING ... OPTIONS (ADD %s '...').", a.Type, missing)
	}
	if len(server.Credential) == 0 && server.User != "" {
		e.Message = fmt.Sprintf("role %q has no credential for server %q", server.User, server.Name)
		e.Hint = fmt.Sprintf("A superuser can give it one of the sidecar's secrets: CREATE USER MAPPING FOR %s SERVER %s OPTIONS (secret '...'). The API takes %s.",
			pushdown.QuoteIdentifier(server.User), pushdown.QuoteIdentifier(server.Name), needs)
	}
	return e
}

// takes tells whether a user mapping has that option for it.
func (a *Auth) takes(name string) bool {
	switch a.Type {
	case "basic", "login":
		return name == "user" || name == "password"
	case "bearer":
		return name == "token"
	case "header", "query":
		return name == "api_key"
	case "client_credentials":
		return name == "client_id" || name == "client_secret"
	case "oauth2":
		return slices.ContainsFunc(a.offered(), func(g grant) bool {
			return slices.Contains(g.needs, name) || slices.Contains(g.may, name)
		})
	}
	return false
}

// scopeOptions are the server options that say which scopes are asked for; a nil
// receiver is any API.
func (a *Auth) scopeOptions() []connectors.OptionSpec {
	var out []connectors.OptionSpec
	if a == nil || a.Type == "oauth2" || a.Type == "client_credentials" {
		out = append(out, connectors.OptionSpec{Name: "scopes", Where: connectors.OnServer,
			Help: "OAuth2 scopes to ask for, separated by blanks, in place of the manifest's. What was granted before is not changed: run hallway auth again."})
	}
	if a == nil || a.OptionalScopes != nil {
		out = append(out, connectors.OptionSpec{Name: "optional_scopes", Where: connectors.OnServer,
			Help: "OAuth2 scopes that hallway auth asks for and that may be refused, separated by blanks, in place of the manifest's; empty: none."})
	}
	return out
}

// withScopes is the manifest's Auth with the scopes that a server's options say.
func (a *Auth) withScopes(options map[string]string) (*Auth, error) {
	out := *a
	for _, name := range []string{"scopes", "optional_scopes"} {
		text, given := options[name]
		if !given {
			continue
		}
		scopes := strings.Fields(text)
		for _, s := range scopes {
			if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
				return nil, &connectors.Error{Class: connectors.InvalidOptionValue, Message: fmt.Sprintf("invalid value for option %q: %q", name, text),
					Hint: "Scopes are separated by blanks, and have ASCII characters but \" and \\."}
			}
		}
		switch {
		case name == "scopes" && a.Type != "oauth2" && a.Type != "client_credentials", name == "optional_scopes" && a.OptionalScopes == nil:
			return nil, &connectors.Error{Class: connectors.InvalidOption, Message: fmt.Sprintf("option %q has no meaning for this API", name),
				Hint: "Its manifest's auth has none."}
		case name == "scopes":
			out.Scopes = scopes
		default:
			out.OptionalScopes = &OptionalScopes{Param: a.OptionalScopes.Param, Scopes: scopes}
		}
	}
	return &out, nil
}

func (l *loader) checkGrants(a *Auth) {
	all := grants()
	names := make([]string, len(all))
	for i, g := range all {
		names[i] = g.name
	}
	if len(a.Grants) == 0 {
		l.at("auth", "the key \"grants\" is missing, which type oauth2 needs")
	}
	for i, g := range a.Grants {
		at := "auth.grants[" + itoa(i) + "]"
		switch {
		case !slices.Contains(names, g):
			l.at(at, "expected %s, found %q", oneOf(g, names), g)
		case g != "token" && a.TokenURL == "":
			l.at(at, "the key \"token_url\" is missing, which %s needs", g)
		case g == "authorization_code" && a.AuthorizeURL == "":
			l.at(at, "the key \"authorize_url\" is missing, which authorization_code needs")
		}
	}
}

// auth makes transport's authentication of a server's credential. options are the
// values of the manifest's.
func auth(a *Auth, options map[string]string, api string, server connectors.ServerSpec) (transport.Auth, error) {
	credential := server.Credential
	var missing string
	get := func(name string) string {
		v := credential[name]
		if v == "" && missing == "" {
			missing = name
		}
		return v
	}
	secret := func(name string) transport.Secret { return transport.NewSecret(get(name)) }
	endpoint := func() transport.TokenEndpoint {
		return transport.TokenEndpoint{TokenURL: fill(a.TokenURL, options), ClientID: get("client_id"),
			ClientSecret: transport.NewSecret(credential["client_secret"]), Scopes: a.Scopes, InBody: a.InBody}
	}
	var out transport.Auth
	switch a.Type {
	case "bearer":
		out = transport.Bearer{Token: secret("token")}
	case "basic":
		// An empty password is legal: keys sent as the user alone.
		out = transport.Basic{User: get("user"), Password: transport.NewSecret(credential["password"])}
	case "header":
		out = transport.HeaderAuth{Name: a.Name, Value: transport.NewSecret(a.Prefix + get("api_key"))}
	case "query":
		out = transport.QueryAuth{Name: a.Name, Value: secret("api_key")}
	case "client_credentials":
		get("client_secret") // needed here, whatever a public client has
		out = transport.ClientCredentials{TokenEndpoint: endpoint()}
	case "oauth2":
		g := a.grant(credential)
		if g == nil {
			return nil, a.lacking(api, server, "")
		}
		switch g.name {
		case "token":
			out = transport.Bearer{Token: secret("token")}
		case "refresh_token":
			out = transport.RefreshToken{TokenEndpoint: endpoint(), Token: secret("refresh_token")}
		case "authorization_code":
			out = transport.RefreshToken{TokenEndpoint: endpoint(), Name: get("authorization"), AuthorizeURL: fill(a.AuthorizeURL, options)}
		case "jwt_bearer":
			out = transport.JWTBearer{TokenEndpoint: endpoint(), PrivateKey: secret("private_key"), KeyID: credential["key_id"],
				Subject: get("user"), Audience: fill(a.Audience, options)}
		case "password":
			out = transport.PasswordGrant{TokenEndpoint: endpoint(), User: get("user"), Password: secret("password")}
		case "client_credentials":
			out = transport.ClientCredentials{TokenEndpoint: endpoint()}
		}
	case "login":
		fields := map[string]transport.Secret{}
		for _, b := range a.Body {
			text := b.Value
			for _, p := range placeholders(text) {
				text = strings.ReplaceAll(text, "{"+p+"}", get(p))
			}
			fields[b.Name] = transport.NewSecret(text)
		}
		out = transport.Login{Path: fill(a.Path, options), Fields: fields, Form: a.Form, Token: a.Token, Header: a.Name, Prefix: a.Prefix}
	}
	if missing != "" {
		return nil, a.lacking(api, server, missing)
	}
	return out, nil
}

// Authorization is for hallway auth: the client whose credential a person
// authorizes, and further parameters of the URL where that is done.
func (s *source) Authorization() (*transport.Client, map[string]string) {
	params := map[string]string{}
	for _, p := range s.m.Auth.Authorize {
		params[p.Name] = p.Value
	}
	if o := s.optional; o != nil && len(o.Scopes) > 0 {
		params[o.Param] = strings.Join(o.Scopes, " ")
	}
	return s.client, params
}
