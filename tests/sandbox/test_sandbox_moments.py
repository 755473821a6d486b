"""Moments: the job, the members' publication, the answers (contract/wechat B8, 95094, 93333, 97612)."""

from __future__ import annotations

from typing import Any

import pytest

EC = "/cgi-bin/externalcontact"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(40)


async def started(play, **fields: Any):
    answer = await play.wecom(f"{EC}/add_moment_task", {"text": {"content": "周末有活动"}, **fields})
    assert answer["errcode"] == 0, answer
    return answer["jobid"]


async def made(play, **fields: Any):
    """The moment_id of a finished job."""
    jobid = await started(play, **fields)
    await play.control("/clock", {"advance": 3})
    return (await play.wecom(f"{EC}/get_moment_task_result", jobid=jobid))["result"]["moment_id"]


async def test_job_is_queued_runs_and_is_done(playing):
    """B8: 1, 2, 3; GET and POST; names that mean nobody are listed; forgotten after 24 hours."""
    async with playing() as play:
        senders = {"user_list": ["rm.chen", "rm.nobody"], "department_list": [99]}
        wanted = {"sender_list": senders, "external_contact_list": {"tag_list": ["x"]}}
        jobid = await started(play, visible_range=wanted)
        path, seen = f"{EC}/get_moment_task_result", []
        for _ in range(3):
            seen.append((await play.wecom(path, jobid=jobid))["status"])
            await play.control("/clock", {"advance": 1.5})
        assert seen == [1, 2, 3]
        done = (await play.wecom(path, {"jobid": jobid}))["result"]
        assert done["invalid_sender_list"] == {"user_list": ["rm.nobody"], "department_list": [99]}
        assert done["invalid_external_contact_list"] == {"tag_list": ["x"]}
        await play.control("/switches", {"moment_result_method": "get"})
        assert (await play.wecom(path, {"jobid": jobid}))["errcode"] == 43001
        await play.control("/clock", {"advance": 86_400})
        assert (await play.wecom(path, jobid=jobid))["errcode"] == 40058


async def test_published_moment_is_seen_and_answered(playing):
    """B8: publish_status 0 and 1, customers, results, comments and likes."""
    async with playing() as play:
        person = await play.befriended("甲")
        moment_id = await made(play, visible_range={"sender_list": {"user_list": ["rm.chen"]}})
        of = {"moment_id": moment_id, "userid": "rm.chen"}
        tasks = f"{EC}/get_moment_task"
        assert (await play.wecom(tasks, of))["task_list"] == [{"userid": "rm.chen", "publish_status": 0}]
        assert (await play.wecom(f"{EC}/get_moment_customer_list", of))["errcode"] == 41062
        await play.control(f"/members/rm.chen/moments/{moment_id}/publish", {})
        assert (await play.wecom(tasks, of))["task_list"] == [{"userid": "rm.chen", "publish_status": 1}]
        external = person["external_userid"]
        told = await play.wecom(f"{EC}/get_moment_customer_list", of)
        assert told["customer_list"] == [{"userid": "rm.chen", "external_userid": external}]
        sent = await play.wecom(f"{EC}/get_moment_send_result", of)
        assert sent["customer_list"] == [{"external_userid": external}]
        assert [m["text"] for m in await play.inbox(person, "moment")] == ["周末有活动"]
        react = f"/members/rm.chen/moments/{moment_id}/react"
        await play.control(react, {"person": person["id"]})
        await play.control(react, {"person": person["id"], "text": "好"})
        said = await play.wecom(f"{EC}/get_moment_comments", of)
        one = [{"external_userid": external, "create_time": play.box.seconds()}]
        assert (said["comment_list"], said["like_list"]) == (one, one)
        assert (await play.wecom(f"{EC}/get_moment_comments", {**of, "userid": "rm.li"}))["errcode"] == 41061


async def test_cancelled_moment_cannot_be_published(playing):
    """B8, 97612."""
    async with playing() as play:
        person = await play.befriended("甲")
        moment_id = await made(play)
        assert (await play.wecom(f"{EC}/cancel_moment_task", {"moment_id": moment_id}))["errcode"] == 0
        await play.control(f"/members/rm.chen/moments/{moment_id}/publish", {}, status=409)
        assert await play.inbox(person, "moment") == []


async def test_moment_takes_only_media_made_for_moments(playing):
    """B8: upload_attachment type 1, else 40007; nine pictures or one of the others."""
    async with playing() as play:
        path = "/cgi-bin/media/upload_attachment"
        query = {"media_type": "image", "attachment_type": 1}
        fit = (await play.upload(path, "a.png", PICTURE, **query))["media_id"]
        unfit = await play.picture()
        album = (await play.upload(path, "a.png", PICTURE, **{**query, "attachment_type": 2}))["media_id"]
        add = f"{EC}/add_moment_task"

        async def errcode(*media_ids: Any):
            images = [{"msgtype": "image", "image": {"media_id": m}} for m in media_ids]
            return (await play.wecom(add, {"attachments": images}))["errcode"]

        assert [await errcode(m) for m in (fit, unfit, album)] == [0, 40007, 40007]
        assert [await errcode(*[fit] * n) for n in (9, 10)] == [0, 41064]


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, 44002),
        ({"text": {"content": ""}}, 41089),
        ({"text": {"content": "a" * 2001}}, 45002),
        ({"attachments": [{"msgtype": "file", "file": {}}]}, 41065),
    ],
)
async def test_wrong_moment_starts_no_job(playing, body, errcode):
    """B8: 41089, 45002, 41065."""
    async with playing() as play:
        answer = await play.wecom(f"{EC}/add_moment_task", body or {"text": {}})
        assert answer["errcode"] == (errcode if body else 41089)
        assert play.box.state.records.moments == {}


async def test_too_many_jobs_at_once(playing):
    """B8: 41078 until some are done; 41059, 41060 for a moment that is missing or unknown."""
    async with playing() as play:
        for _ in range(5):
            await started(play)
        add = f"{EC}/add_moment_task"
        assert (await play.wecom(add, {"text": {"content": "x"}}))["errcode"] == 41078
        await play.control("/clock", {"advance": 3})
        assert (await play.wecom(add, {"text": {"content": "x"}}))["errcode"] == 0
        path = f"{EC}/get_moment_task"
        assert [(await play.wecom(path, {"moment_id": m}))["errcode"] for m in ("", "x")] == [41059, 41060]


async def test_moments_are_listed_within_thirty_days(playing):
    """B8, 93333: only finished ones; 41079 while one is handed out."""
    async with playing() as play:
        moment_id = await made(play)
        await started(play)
        now = play.box.seconds()
        listed = await play.wecom(f"{EC}/get_moment_list", {"start_time": now - 99, "end_time": now})
        assert [m["moment_id"] for m in listed["moment_list"]] == [moment_id]
        assert listed["moment_list"][0]["text"] == {"content": "周末有活动"}
        span = {"start_time": now - 31 * 86_400, "end_time": now}
        assert (await play.wecom(f"{EC}/get_moment_list", span))["errcode"] == 40058
        await play.control("/switches", {"dispatch_seconds": 9})
        assert (await play.wecom(f"{EC}/get_moment_task", {"moment_id": moment_id}))["errcode"] == 41079
