/*-------------------------------------------------------------------------
 *
 * grpc.c
 *		gRPC on an HTTP/2 stream: length-prefixed messages, the status that
 *		ends a call, and what a failed call means in PostgreSQL's words.
 *
 * What http2.c calls from libnghttp2's callbacks (inbox, status headers) does
 * not throw; the rest runs in the executor and may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <nghttp2/nghttp2.h>

#include "common/base64.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#include "wire.h"

/* gRPC status codes, from grpc/doc/statuscodes.md. */
#define GRPC_OK					0
#define GRPC_CANCELLED			1
#define GRPC_UNKNOWN			2
#define GRPC_INVALID_ARGUMENT	3
#define GRPC_DEADLINE_EXCEEDED	4
#define GRPC_PERMISSION_DENIED	7
#define GRPC_RESOURCE_EXHAUSTED 8
#define GRPC_FAILED_PRECONDITION 9
#define GRPC_UNIMPLEMENTED		12
#define GRPC_INTERNAL			13
#define GRPC_UNAVAILABLE		14
#define GRPC_UNAUTHENTICATED	16

/* Memory for a message is taken as it arrives: a length is only a claim. */
#define FIRST_CAPACITY	(1024 * 1024)
/* Buffers up to this size are kept for the stream's next message. */
#define SPARE_CAPACITY	(1024 * 1024)

static bool inbox_room(WireInbox *inbox, size_t needed);
static Hallway__V1__Error *error_from_details(const char *details);
static Hallway__V1__Error *error_from_status(const WireStatus *status, bool is_write);
static Hallway__V1__Error *error_from_fault(const WireStream *stream);
static char *percent_decode(const char *text);
static void *unpack_alloc(void *data, size_t size);
static void unpack_free(void *data, void *ptr);

/* ---- messages ----------------------------------------------------------- */

/* A request as the body of a call. NULL when out of memory; does not throw. */
uint8 *
wire_frame_message(MemoryContext cxt, const ProtobufCMessage *message, size_t *len)
{
	size_t		size = protobuf_c_message_get_packed_size(message);
	uint8	   *body;
	uint32		prefix;

	if (size > PG_UINT32_MAX)
		return NULL;
	body = wire_alloc(cxt, size + 5);
	if (body == NULL)
		return NULL;
	prefix = pg_hton32((uint32) size);
	body[0] = 0;				/* not compressed */
	memcpy(body + 1, &prefix, 4);
	protobuf_c_message_pack(message, body + 5);
	*len = size + 5;
	return body;
}

/* Takes the next bytes of a stream. Does not throw. */
WireFault
wire_inbox_feed(WireInbox *inbox, const uint8 *data, size_t len)
{
	for (;;)
	{
		WireMessage *message = inbox->partial;
		size_t		n;

		if (message == NULL)
		{
			uint32		size;

			n = Min(len, (size_t) (5 - inbox->prefix_len));
			memcpy(inbox->prefix + inbox->prefix_len, data, n);
			inbox->prefix_len += n;
			data += n;
			len -= n;
			if (inbox->prefix_len < 5)
				return WIRE_FAULT_NONE;
			if (inbox->prefix[0] != 0)
				return WIRE_FAULT_COMPRESSED;
			memcpy(&size, inbox->prefix + 1, 4);
			size = pg_ntoh32(size);
			if (size > WIRE_MAX_MESSAGE)
				return WIRE_FAULT_TOO_LARGE;

			message = inbox->spare;
			inbox->spare = NULL;
			if (message != NULL && message->capacity < Min(size, FIRST_CAPACITY))
			{
				pfree(message);
				message = NULL;
			}
			if (message == NULL)
			{
				uint32		capacity = Min(size, FIRST_CAPACITY);

				message = wire_alloc(inbox->cxt, offsetof(WireMessage, data) + capacity);
				if (message == NULL)
					return WIRE_FAULT_MEMORY;
				message->capacity = capacity;
			}
			message->next = NULL;
			message->size = size;
			message->filled = 0;
			inbox->partial = message;
			inbox->prefix_len = 0;
		}

		n = Min(len, (size_t) (message->size - message->filled));
		if (message->filled + n > message->capacity)
		{
			if (!inbox_room(inbox, message->filled + n))
				return WIRE_FAULT_MEMORY;
			message = inbox->partial;
		}
		memcpy(message->data + message->filled, data, n);
		message->filled += n;
		data += n;
		len -= n;
		if (message->filled < message->size)
			return WIRE_FAULT_NONE;

		inbox->partial = NULL;
		if (inbox->head == NULL)
			inbox->head = message;
		else
			inbox->tail->next = message;
		inbox->tail = message;
		if (len == 0)
			return WIRE_FAULT_NONE;
	}
}

/* Room for needed bytes in the partial message: doubles, up to its size. */
static bool
inbox_room(WireInbox *inbox, size_t needed)
{
	WireMessage *old = inbox->partial;
	size_t		capacity = Min(Max((size_t) old->capacity * 2, needed), old->size);
	WireMessage *message = wire_alloc(inbox->cxt, offsetof(WireMessage, data) + capacity);

	if (message == NULL)
		return false;
	memcpy(message, old, offsetof(WireMessage, data) + old->filled);
	message->capacity = capacity;
	pfree(old);
	inbox->partial = message;
	return true;
}

/* The oldest complete message, off the inbox; NULL if there is none. */
WireMessage *
wire_inbox_take(WireInbox *inbox)
{
	WireMessage *message = inbox->head;

	if (message != NULL)
	{
		inbox->head = message->next;
		message->next = NULL;
	}
	return message;
}

void
wire_inbox_release(WireInbox *inbox, WireMessage *message)
{
	if (inbox->spare == NULL && message->capacity <= SPARE_CAPACITY)
		inbox->spare = message;
	else
		pfree(message);
}

void
wire_inbox_clear(WireInbox *inbox)
{
	WireMessage *message;

	while ((message = wire_inbox_take(inbox)) != NULL)
		pfree(message);
	if (inbox->partial != NULL)
		pfree(inbox->partial);
	if (inbox->spare != NULL)
		pfree(inbox->spare);
	inbox->partial = inbox->spare = NULL;
}

/* A message in the current memory context; NULL if the bytes are not one. */
ProtobufCMessage *
hallway_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8 *data, size_t len)
{
	ProtobufCAllocator allocator = {unpack_alloc, unpack_free, NULL};

	return protobuf_c_message_unpack(descriptor, &allocator, len, data);
}

static void *
unpack_alloc(void *data, size_t size)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, MCXT_ALLOC_HUGE);
}

static void
unpack_free(void *data, void *ptr)
{
	if (ptr != NULL)
		pfree(ptr);
}

/* ---- headers ------------------------------------------------------------ */

/* grpc-timeout: at most eight digits and a unit. Rounds up. */
void
wire_format_timeout(int64 timeout_ms, char *buf, size_t size)
{
	if (timeout_ms <= 99999999)
		snprintf(buf, size, "%dm", (int) timeout_ms);
	else
		snprintf(buf, size, "%dS", (int) Min((timeout_ms + 999) / 1000, 99999999));
}

/* A header or trailer of the answer; false if it is too much. Does not throw. */
bool
wire_status_header(WireStatus *status, MemoryContext cxt,
				   const char *name, size_t namelen,
				   const char *value, size_t valuelen)
{
	char	  **text = NULL;
	int		   *number = NULL;

	if (namelen == 7 && memcmp(name, ":status", 7) == 0)
		number = &status->http_status;
	else if (namelen == 11 && memcmp(name, "grpc-status", 11) == 0)
		number = &status->grpc_status;
	else if (namelen == 12 && memcmp(name, "grpc-message", 12) == 0)
		text = &status->message;
	else if (namelen == 23 && memcmp(name, "grpc-status-details-bin", 23) == 0)
		text = &status->details;

	if (number != NULL)
	{
		int			n = 0;

		if (valuelen == 0 || valuelen > 6)
			n = GRPC_UNKNOWN;
		else
			for (size_t i = 0; i < valuelen; i++)
			{
				if (value[i] < '0' || value[i] > '9')
				{
					n = GRPC_UNKNOWN;
					break;
				}
				n = n * 10 + (value[i] - '0');
			}
		*number = n;
	}
	if (text != NULL && *text == NULL)
	{
		if (valuelen > WIRE_MAX_STATUS_TEXT - status->text)
			return false;
		*text = wire_alloc(cxt, valuelen + 1);
		if (*text == NULL)
			return false;
		memcpy(*text, value, valuelen);
		(*text)[valuelen] = '\0';
		status->text += valuelen;
	}
	return true;
}

/* ---- what the end of a call means --------------------------------------- */

bool
wire_stream_succeeded(const WireStream *stream)
{
	return stream->closed && stream->fault == WIRE_FAULT_NONE &&
		stream->status.http_status == 200 && stream->status.grpc_status == GRPC_OK;
}

/*
 * Why a closed or faulty stream failed, in the current memory context. Without
 * the sidecar's own Error the cause is worked out from what is there.
 */
Hallway__V1__Error *
wire_stream_error(const WireStream *stream, bool is_write)
{
	const WireStatus *status = &stream->status;
	Hallway__V1__Error *error = NULL;

	if (status->details != NULL)
		error = error_from_details(status->details);
	if (error != NULL)
		return error;
	if (stream->fault != WIRE_FAULT_NONE)
	{
		error = error_from_fault(stream);
		if (is_write)
			return wire_unknown_outcome(error->message);
		return error;
	}
	if (status->grpc_status > GRPC_OK)
		return error_from_status(status, is_write);
	if (status->http_status != 0 && status->http_status != 200)
		return wire_error("08P01",
						  "what answers at the sidecar's address is not a Hallway sidecar",
						  psprintf("It answered with HTTP status %d.", status->http_status),
						  "Check the server option \"address\" and the setting hallway.address.");

	/* No status at all: the stream was torn. */
	{
		const char *detail;

		if (stream->session->broken)
			detail = psprintf("%s.", stream->session->reason);
		else if (stream->close_code == NGHTTP2_CANCEL)
		{
			/* So ends a call whose deadline passed while its handler ran. */
			WireStatus	late = {.grpc_status = GRPC_DEADLINE_EXCEEDED};

			return error_from_status(&late, is_write);
		}
		else
			detail = psprintf("The sidecar gave the request up without saying why (%s).",
							  nghttp2_http2_strerror(stream->close_code));
		if (is_write && !wire_stream_unprocessed(stream))
			return wire_unknown_outcome(detail);
		return wire_error("08006", "connection to the Hallway sidecar was lost", detail,
						  "Is the sidecar being restarted? The next statement connects anew.");
	}
}

/* A write that was sent, and whose answer never came or says nothing. */
Hallway__V1__Error *
wire_unknown_outcome(const char *detail)
{
	return wire_error("08007",
					  "the outcome of a write through the Hallway sidecar is not known",
					  detail,
					  "The API may or may not have applied it: look there before writing again.");
}

Hallway__V1__Error *
wire_error(const char *sqlstate, const char *message, const char *detail, const char *hint)
{
	Hallway__V1__Error *error = palloc(sizeof(Hallway__V1__Error));

	hallway__v1__error__init(error);
	error->sqlstate = pstrdup(sqlstate);
	error->message = pstrdup(message);
	error->detail = pstrdup(detail ? detail : "");
	error->hint = pstrdup(hint ? hint : "");
	return error;
}

/* grpc-status-details-bin: base64, often without padding; NULL if it is not. */
static Hallway__V1__Error *
error_from_details(const char *details)
{
	size_t		len = strlen(details);
	char	   *padded = palloc(len + 4);
	char	   *raw;
	int			rawlen;
	Hallway__V1__RpcStatus *status;

	memcpy(padded, details, len);
	while (len % 4 != 0)
		padded[len++] = '=';
	rawlen = pg_b64_dec_len(len);
	raw = palloc(rawlen + 1);
	/* dst is char * until PostgreSQL 17 and uint8 * from 18 on */
	rawlen = pg_b64_decode(padded, len, (void *) raw, rawlen);
	if (rawlen < 0)
		return NULL;
	status = (Hallway__V1__RpcStatus *)
		hallway_unpack(&hallway__v1__rpc_status__descriptor, (uint8 *) raw, rawlen);
	if (status == NULL)
		return NULL;
	for (size_t i = 0; i < status->n_details; i++)
	{
		const Hallway__V1__RpcStatusDetail *any = status->details[i];
		const char *name = strrchr(any->type_url, '/');

		if (strcmp(name ? name + 1 : any->type_url, "hallway.v1.Error") == 0)
			return (Hallway__V1__Error *)
				hallway_unpack(&hallway__v1__error__descriptor, any->value.data, any->value.len);
	}
	return NULL;
}

/* A status without details comes from the gRPC library, not from a handler. */
static Hallway__V1__Error *
error_from_status(const WireStatus *status, bool is_write)
{
	const char *text = status->message ? percent_decode(status->message) : "";
	const char *detail;

	if (text[0])
		detail = psprintf("The sidecar said: %s", text);
	else if (status->grpc_status == GRPC_DEADLINE_EXCEEDED)
		detail = "The deadline passed while the sidecar was at work.";
	else
		detail = psprintf("The sidecar answered with gRPC status %d.", status->grpc_status);

	switch (status->grpc_status)
	{
		case GRPC_CANCELLED:
		case GRPC_UNKNOWN:
		case GRPC_INTERNAL:
		case GRPC_DEADLINE_EXCEEDED:
		case GRPC_UNAVAILABLE:
			if (is_write)
				return wire_unknown_outcome(detail);
			break;
		default:
			break;
	}

	switch (status->grpc_status)
	{
		case GRPC_UNAVAILABLE:
			return wire_error("08006", "the Hallway sidecar is not available", detail,
							  "Is it being stopped or restarted? Its log says more.");
		case GRPC_UNIMPLEMENTED:
			return wire_error("0A000", "the Hallway sidecar does not know this request", detail,
							  "It is older than this extension: upgrade the sidecar and restart it.");
		case GRPC_CANCELLED:
			return wire_error("57014", "the Hallway sidecar cancelled the request", detail, NULL);
		case GRPC_DEADLINE_EXCEEDED:
			return wire_error("57014", "the Hallway sidecar had no answer before the statement's deadline",
							  detail, "Raise statement_timeout (or hallway.max_wait where that is not set), or ask for less.");
		case GRPC_UNAUTHENTICATED:
			return wire_error("28000", "the Hallway sidecar did not accept this backend", detail, NULL);
		case GRPC_PERMISSION_DENIED:
			return wire_error("42501", "the Hallway sidecar refused this backend", detail, NULL);
		case GRPC_RESOURCE_EXHAUSTED:
			return wire_error("53400", "a limit of the Hallway sidecar was reached", detail, NULL);
		case GRPC_INVALID_ARGUMENT:
		case GRPC_FAILED_PRECONDITION:
			return wire_error("HV000", "the Hallway sidecar refused the request", detail, NULL);
		default:
			return wire_error("XX000", "the Hallway sidecar failed", detail,
							  "The sidecar's log says more.");
	}
}

static Hallway__V1__Error *
error_from_fault(const WireStream *stream)
{
	switch (stream->fault)
	{
		case WIRE_FAULT_MEMORY:
			return wire_error("53200", "out of memory while receiving from the Hallway sidecar",
							  NULL, NULL);
		case WIRE_FAULT_TOO_LARGE:
			return wire_error("08P01", "message from the Hallway sidecar is too large",
							  psprintf("At most %d bytes are accepted.", WIRE_MAX_MESSAGE), NULL);
		case WIRE_FAULT_COMPRESSED:
			return wire_error("08P01", "message from the Hallway sidecar is compressed",
							  "The backend offers no compression.", NULL);
		case WIRE_FAULT_STATUS_TEXT:
			return wire_error("08P01", "error text from the Hallway sidecar is too long", NULL, NULL);
		case WIRE_FAULT_TRUNCATED:
		default:
			if (stream->session->broken)
				return wire_error("08006", "connection to the Hallway sidecar was lost",
								  psprintf("%s.", stream->session->reason),
								  "Is the sidecar being restarted? The next statement connects anew.");
			return wire_error("08P01", "message from the Hallway sidecar is incomplete", NULL, NULL);
	}
}

/* grpc-message is percent-encoded UTF-8; what is not a code stays as it is. */
static char *
percent_decode(const char *text)
{
	char	   *result = palloc(strlen(text) + 1);
	char	   *out = result;

	while (*text)
	{
		unsigned int byte;

		if (text[0] == '%' && isxdigit((unsigned char) text[1]) &&
			isxdigit((unsigned char) text[2]) && sscanf(text + 1, "%2x", &byte) == 1 && byte != 0)
		{
			*out++ = (char) byte;
			text += 3;
		}
		else
			*out++ = *text++;
	}
	*out = '\0';
	return result;
}
