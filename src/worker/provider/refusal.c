/* SPDX-License-Identifier: BSD-2-Clause */
/* refusal.c - see refusal.h. */
#include "base/base.h"
#include "worker/provider/refusal.h"

#include "base/json_scan.h"
#include "worker/provider/headers.h"
#include "worker/provider/room.h"

#define DEPTH_MAX 256

bool refusal_is_quota(const struct answer *answer)
{
	static const char *const codes[] = { "insufficient_quota", "credit_balance_exhausted",
		"organization_spend_limit_exceeded", "project_spend_limit_exceeded",
		"organization_usage_limit_exceeded" };
	struct json_find found[] = { { .path = "error.code" }, { .path = "error.type" } };

	if (!answer->body.data ||
		!json_scan(answer->body.data, answer->body.len, DEPTH_MAX, found, 2, NULL))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (json_find_equals(answer->body.data, &found[0], codes[i]) ||
			json_find_equals(answer->body.data, &found[1], codes[i]))
			return true;
	return false;
}

enum again refusal_again(const struct provider_call *call)
{
	int status = call->answer.status;
	bool passing = status == 408 || status == 409 || status == 429 || status >= 500;

	if (refusal_is_quota(&call->answer))
		return AGAIN_ELSEWHERE;
	switch (headers_should_retry(call)) {
	case SHOULD_RETRY_YES:
		return AGAIN_HERE;
	case SHOULD_RETRY_NO:
		return passing ? AGAIN_ELSEWHERE : AGAIN_NOT;
	case SHOULD_RETRY_UNSAID:
		break;
	}
	if (status == 401 || status == 403)
		return AGAIN_ELSEWHERE;
	return passing ? AGAIN_HERE : AGAIN_NOT;
}
