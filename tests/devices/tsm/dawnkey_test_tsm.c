// SPDX-License-Identifier: GPL-2.0
/*
 * TEST GUESTS ONLY: a provider of TSM reports (/sys/kernel/config/tsm/report) whose reports a program
 * in user space makes.
 *
 * The program reads one request from /dev/dawnkey-test-tsm, which blocks until somebody reads `outblob`:
 *     u32 privilege level, u32 length, the bytes of `inblob`
 * and writes one answer, of which the kernel hands out the two blobs:
 *     u32 length, outblob, u32 length, auxblob        (both lengths 0: the request failed)
 *
 * The TSM core asks for one report at a time, so one slot is enough.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/tsm.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#define ANSWER_MAX (2 * TSM_OUTBLOB_MAX + 8)
#define PATIENCE (30 * HZ)

static char *provider = "sev_guest";
module_param(provider, charp, 0444);
MODULE_PARM_DESC(provider, "name shown to user space: sev_guest or tdx_guest");

enum stage { IDLE, ASKED, TAKEN, ANSWERED };

static DEFINE_MUTEX(slot);
static DECLARE_WAIT_QUEUE_HEAD(changed);
static enum stage stage;
static struct { u32 privlevel, length; u8 inblob[TSM_INBLOB_MAX]; } request;
static u8 *answer;
static size_t answer_length;

static void move_to(enum stage next)
{
	stage = next;
	wake_up_all(&changed);
}

/* One length-prefixed blob of the answer, from *at on. */
static int take_blob(size_t *at, u8 **blob, size_t *length)
{
	u32 size;

	if (answer_length - *at < sizeof(size))
		return -EIO;
	memcpy(&size, answer + *at, sizeof(size));
	*at += sizeof(size);
	if (size > TSM_OUTBLOB_MAX || answer_length - *at < size)
		return -EIO;
	*blob = size ? kvmemdup(answer + *at, size, GFP_KERNEL) : NULL;
	if (size && !*blob)
		return -ENOMEM;
	*length = size;
	*at += size;
	return 0;
}

static int report_new(struct tsm_report *report, void *data)
{
	size_t at = 0;
	long left;
	int rc;

	mutex_lock(&slot);
	request.privlevel = report->desc.privlevel;
	request.length = report->desc.inblob_len;
	memcpy(request.inblob, report->desc.inblob, report->desc.inblob_len);
	move_to(ASKED);
	mutex_unlock(&slot);
	left = wait_event_timeout(changed, READ_ONCE(stage) == ANSWERED, PATIENCE);

	mutex_lock(&slot);
	rc = left ? take_blob(&at, &report->outblob, &report->outblob_len) : -ETIMEDOUT;
	if (!rc && !report->outblob_len)
		rc = -EIO;
	if (!rc)
		rc = take_blob(&at, &report->auxblob, &report->auxblob_len);
	kvfree(answer);
	answer = NULL;
	stage = IDLE;
	mutex_unlock(&slot);
	return rc;
}

static ssize_t take_request(struct file *file, char __user *to, size_t room, loff_t *at)
{
	size_t size = 2 * sizeof(u32);
	int rc = wait_event_interruptible(changed, READ_ONCE(stage) == ASKED);

	if (rc)
		return rc;
	mutex_lock(&slot);
	size += request.length;
	rc = stage != ASKED ? -EAGAIN : room < size ? -EMSGSIZE : copy_to_user(to, &request, size) ? -EFAULT : 0;
	if (!rc)
		stage = TAKEN;
	mutex_unlock(&slot);
	return rc ? rc : size;
}

static ssize_t give_answer(struct file *file, const char __user *from, size_t length, loff_t *at)
{
	u8 *copy = length > ANSWER_MAX ? ERR_PTR(-EMSGSIZE) : vmemdup_user(from, length);

	if (IS_ERR(copy))
		return PTR_ERR(copy);
	mutex_lock(&slot);
	if (stage != TAKEN) {
		mutex_unlock(&slot);
		kvfree(copy);
		return -EPIPE;
	}
	answer = copy;
	answer_length = length;
	move_to(ANSWERED);
	mutex_unlock(&slot);
	return length;
}

/* What the two real providers show: only SEV-SNP has privilege levels and certificates. */
static bool attribute_visible(int n)
{
	bool levels = n == TSM_REPORT_PRIVLEVEL || n == TSM_REPORT_PRIVLEVEL_FLOOR;

	return n == TSM_REPORT_GENERATION || n == TSM_REPORT_PROVIDER || (levels && !strcmp(provider, "sev_guest"));
}

static bool blob_visible(int n)
{
	return n == TSM_REPORT_INBLOB || n == TSM_REPORT_OUTBLOB ||
	       (n == TSM_REPORT_AUXBLOB && !strcmp(provider, "sev_guest"));
}

static struct tsm_ops operations = {
	.report_new = report_new,
	.report_attr_visible = attribute_visible,
	.report_bin_attr_visible = blob_visible,
};

static const struct file_operations signer_operations = {
	.owner = THIS_MODULE,
	.read = take_request,
	.write = give_answer,
};

static struct miscdevice signer = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dawnkey-test-tsm",
	.fops = &signer_operations,
	.mode = 0600,
};

static int __init start(void)
{
	int rc = misc_register(&signer);

	if (rc)
		return rc;
	operations.name = provider;
	rc = tsm_register(&operations, NULL);
	if (rc)
		misc_deregister(&signer);
	return rc;
}

static void __exit stop(void)
{
	tsm_unregister(&operations);
	misc_deregister(&signer);
}

module_init(start);
module_exit(stop);
MODULE_DESCRIPTION("TSM report provider with a signer in user space, for test guests");
MODULE_LICENSE("GPL");
