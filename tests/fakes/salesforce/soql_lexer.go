package salesforce

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind of a token.
type kind int

const (
	tokenEnd kind = iota
	tokenName
	tokenString
	tokenNumber
	tokenDate
	tokenDateTime
	tokenTime
	tokenSymbol
)

type token struct {
	kind kind
	// text of a name as written, of a string decoded, of others as written.
	text string
	// pattern of a string keeps the escapes \% and \_ for LIKE.
	pattern string
	pos     int
}

const (
	maxStatement = 100_000
	maxString    = 4_000
)

var (
	numberForm   = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]+)?$`)
	dateForm     = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	dateTimeForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?(Z|[-+][0-9]{2}:?[0-9]{2})$`)
	timeForm     = regexp.MustCompile(`^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z$`)
)

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// lex splits a statement into tokens, the last of which is tokenEnd.
func lex(s string) ([]token, *apiError) {
	if utf8.RuneCountInString(s) > maxStatement {
		return nil, newError(400, "MALFORMED_QUERY", "SOQL statements can't be longer than %d characters.", maxStatement)
	}
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case letter(c):
			start := i
			for i < len(s) && (letter(s[i]) || digit(s[i]) || s[i] == '.' && i+1 < len(s) && letter(s[i+1])) {
				i++
			}
			out = append(out, token{kind: tokenName, text: s[start:i], pos: start})
		case c == '\'':
			t, next, err := lexString(s, i)
			if err != nil {
				return nil, err
			}
			out, i = append(out, t), next
		case digit(c) || (c == '-' || c == '+') && i+1 < len(s) && digit(s[i+1]):
			start := i
			for i++; i < len(s) && (letter(s[i]) || digit(s[i]) || strings.IndexByte(":.+-", s[i]) >= 0); {
				i++
			}
			t := token{text: s[start:i], pos: start}
			switch {
			case numberForm.MatchString(t.text):
				t.kind = tokenNumber
			case dateForm.MatchString(t.text):
				t.kind = tokenDate
			case dateTimeForm.MatchString(t.text):
				t.kind = tokenDateTime
			case timeForm.MatchString(t.text):
				t.kind = tokenTime
			default:
				return nil, at(s, start, "MALFORMED_QUERY", "unexpected token: '%s'", t.text)
			}
			out = append(out, t)
		case strings.HasPrefix(s[i:], "<=") || strings.HasPrefix(s[i:], ">=") || strings.HasPrefix(s[i:], "!=") || strings.HasPrefix(s[i:], "<>"):
			out = append(out, token{kind: tokenSymbol, text: s[i : i+2], pos: i})
			i += 2
		case strings.IndexByte("=<>(),:", c) >= 0:
			out = append(out, token{kind: tokenSymbol, text: s[i : i+1], pos: i})
			i++
		default:
			r, _ := utf8.DecodeRuneInString(s[i:])
			return nil, at(s, i, "MALFORMED_QUERY", "unexpected token: '%c'", r)
		}
	}
	return append(out, token{kind: tokenEnd, text: "<EOF>", pos: len(s)}), nil
}

// lexString reads a literal that begins at i; it answers the place after it.
func lexString(s string, i int) (token, int, *apiError) {
	start := i
	var text, pattern strings.Builder
	for i++; i < len(s); {
		switch c := s[i]; c {
		case '\'':
			if utf8.RuneCountInString(text.String()) > maxString {
				return token{}, 0, at(s, start, "INVALID_QUERY_FILTER_OPERATOR", "maximum length of a string in a WHERE clause is %d characters", maxString)
			}
			return token{kind: tokenString, text: text.String(), pattern: pattern.String(), pos: start}, i + 1, nil
		case '\n', '\r', 0:
			return token{}, 0, at(s, i, "MALFORMED_QUERY", "line breaks not allowed in string literals")
		case '\\':
			if i+1 >= len(s) {
				return token{}, 0, at(s, i, "MALFORMED_QUERY", "unexpected char: '\\'")
			}
			n, ok := strings.IndexByte("nNrRtTbBfF\"'\\", s[i+1]), true
			switch {
			case n >= 0:
				decoded := string("\n\n\r\r\t\t\b\b\f\f\"'\\"[n])
				text.WriteString(decoded)
				if decoded == `\` {
					// A backslash that is meant stays one in a pattern.
					pattern.WriteString(`\\`)
				} else {
					pattern.WriteString(decoded)
				}
				i += 2
			case s[i+1] == '%' || s[i+1] == '_':
				text.WriteByte(s[i+1])
				pattern.WriteString(s[i : i+2])
				i += 2
			case s[i+1] == 'u' && i+6 <= len(s):
				code, err := strconv.ParseUint(s[i+2:i+6], 16, 32)
				ok = err == nil
				text.WriteRune(rune(code))
				pattern.WriteRune(rune(code))
				i += 6
			default:
				ok = false
			}
			if !ok {
				return token{}, 0, at(s, i, "MALFORMED_QUERY", "Invalid string literal. Illegal character sequence '\\%c' in string literal.", s[i+1])
			}
		default:
			text.WriteByte(c)
			pattern.WriteByte(c)
			i++
		}
	}
	return token{}, 0, at(s, start, "MALFORMED_QUERY", "unexpected token: <EOF>, string literal is not closed")
}
