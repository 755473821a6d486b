"""What promises a reward for sharing or following is caught, and what a bank says innocently is not refused."""

from __future__ import annotations

import time

import pytest

from campaigns.document import reading
from campaigns.document.reading import DocumentError
from services.documents import wording
from tests.support.documents import BRANCHES, REWARDS

INNOCENT = """\
请关注账户安全，收到送款短信切勿转账
关注我行公众号，获取最新资讯
感谢您的关注与支持
请您关注利率变动，存款利率可能调整
分享您的使用体验，帮助我们改进
请勿将验证码分享给他人，谨防诈骗
切勿转发含有红包链接的短信
请勿点击分享即可领奖的链接
警惕“转发领红包”骗局
凡要求转发朋友圈才能领奖的都是诈骗
我行不会以集赞送礼等形式要求您转发
您关注的理财产品已到期，可赎回
关注账户余额变动，可开通免费短信提醒
开户即送咖啡券一份
消费满100元即可抽奖
到店领取咖啡券
新客首次登录可领取20元生活券
分享会将于周六举行，到场即可领取纪念品
财富分享会报名即可参加抽奖
请关注天气变化，注意出行安全，网点提供免费热水
请关注活动规则，奖品以实物为准
关注孩子的成长，我们送上节日祝福
关注您的健康，我行赠送免费体检一次
转发邮件请注意保密，奖金信息不得外泄
本短信无需转发，直接登录即可领取
无需分享，登录即可领券
您的转账已转发至处理中心，可在两小时内得到结果
点赞！您的还款记录良好，可得到更高额度
如您关注的产品有得失变化，我们会通知您
送您一份理财分享手册
奖学金申请可关注学校通知
关注反洗钱，共享免费平安
您的好友王经理已送出祝福
客户经理会把资料分享给您，免费查阅
请关注汇率波动，可免费咨询客户经理
关注社保卡激活，网点免费办理
感谢您长期关注，特送上新年祝福
获奖名单将在公众号公布，请关注
助力乡村振兴，我们在行动，可免费咨询
助力小微企业，贷款可免费评估
助力高考，祝考生金榜题名赢得未来
邀请好友一起学习反诈知识，可得安心
分享一份好心情，送给每一位客户
关注养老，礼遇长者，网点可免费量血压
如需关注更多，请联系客户经理，可得到专业解答
请勿相信关注公众号即送礼品的广告
任何以转发抽奖为名的链接均为诈骗，不要点击
不转发也可领取
请您关注个人征信，征信中心每年可免费查询两次
关注我行微信公众号，及时了解存款产品
请扫码关注公众号，绑定账户后可查询余额
请关注我行官网公告，纪念币预约于10月1日开始
关注市场动态，把握投资机会，理财经理可免费为您规划
感谢您关注我行，首次登录手机银行可领取20元立减金
您好，很高兴为您服务，一份咖啡在等您，请关注小程序通知
请关注短信通知，收到后即可领取咖啡券
您关注的纪念币已到店，可凭身份证领取
关注公众号不会收取任何费用，也没有红包
我行不送红包，请勿相信转发消息
到店完成签到即可领取一份礼品
完成风险测评可获得抽奖机会
新客户首次登录即送20元话费
消费满三笔即可抽奖，奖品包括手机
分享会现场设有抽奖环节
本周六举办财富分享会，到场客户均有礼品
把您的使用体验分享给我们，帮助改进
欢迎分享您的建议，我们会认真阅读
请妥善保管领取码，请勿转发他人，转发后领取码失效
兑换码仅限本人使用，不得转发或分享
点赞活动已结束，感谢参与
为您点赞，您的信用记录良好，可获得更高额度
助力乡村振兴，购买农产品享优惠
助力小微企业发展，贷款利率优惠
助力您的财富增长，免费咨询
请查看邮件中的分享链接，点击即可查看对账单
您的客户经理会把材料转发给您
我行客服不会以转发抽奖名义索要密码
凡是要求邀请好友才能领奖的，均为诈骗
亲子分享日，小朋友可领取贴纸
领取后请勿分享兑换码
奖品领取须本人到场，请关注领取时间
关注健康，关爱家人，免费血压测量等您来
Please follow the steps below to receive your voucher
Share your feedback with us at any branch
Do not forward this code, it is your reward
We never ask you to share a message to get a gift
Thank you for following us, your coupon is in the mini-program
关注与否，不影响您领取权益
转发本消息给他人无效，优惠券仅限本人领取
""".splitlines()

BANNED = """\
分享即可领奖
转发即可领红包
转发给好友就送咖啡
转发领红包
关注即送咖啡券
关注公众号即可领取红包
关注送好礼
集赞送礼品
集赞领大奖
集满38个赞即可领取礼品
集齐20个赞免费领
点赞满30个送保温杯
分享到朋友圈即可抽奖
分享朋友圈领券
分享三个群得红包
转发朋友圈截图领取咖啡
转发本文到朋友圈，即可获得奖品
邀请好友助力即可得现金
邀请好友关注得10元
邀请3位好友助力免费领
拉新有奖，拉3位好友送券
拉好友进群送红包
邀请好友送咖啡
邀请一位好友加入，您得20元红包
砍价免费拿
帮我砍一刀，免费领
好友砍价0元得
拼团邀请好友享礼品
助力得红包
好友助力领现金
分享有礼
转发有奖
关注有礼
邀请有礼
分享得积分
转发赢iPhone
转发抽奖
关注公众号抽大奖
转发、点赞、评论，抽三人送礼
转发后凭截图兑换礼品
把这条消息转发给5个好友，马上到账20元红包
分享到3个微信群，领取优惠券
不转发不是中国人
分享后才能领取
分享后可查看并领取奖励
先分享再领券
关注后解锁红包
关注并转发，送你一份礼
点击分享，立得现金
分享给好友，各得10元
扫码关注公众号，免费领取礼品
分 享 即 可 领 奖
转\u200b发领红包
轉發即可領獎
關注公眾號送好禮
Share to get a free coffee
Forward this message to win a prize
Follow us and get a free gift
Share with 3 friends to receive a voucher
Invite friends and earn rewards
Like and share to win
分享海报，好友扫码后您得咖啡一份
转发海报给好友，双方各得一张券
每邀请一位好友，奖励10元
推荐好友开户，您得100元
好友助力成功，免费领咖啡
找3个好友帮忙助力即可免费领取
集30赞换礼品
朋友圈集赞38个可兑换保温杯
朋友圈晒图领红包
发朋友圈领好礼
转发到3个群截图给客服领券
關注即送
关注就送券
关注可得红包
点关注，领红包
长按关注，马上抽奖
关注+转发=抽奖
分享越多，奖励越多
分享解锁更多奖励
转发即送
关注即送好礼
諉導分享：分享即得獎
邀请新客，现金奖励
拼团邀请好友即可享优惠价
""".splitlines()


@pytest.mark.parametrize("text", INNOCENT)
def test_what_a_bank_says_innocently_is_not_refused(text: str) -> None:
    found = wording.found_in(text)
    assert [one for one in found if one.banned] == []
    assert all(one.words in text for one in found)


@pytest.mark.parametrize("text", BANNED)
def test_what_promises_a_reward_for_sharing_is_refused_with_the_words(text: str) -> None:
    (one, *_) = wording.found_in(text)
    assert one.banned
    assert one.words in text


@pytest.mark.parametrize("text", ["收到送款短信，请关注账户安全", "分享即可领奖，切勿上当", "转发领红包都是骗局"])
def test_what_warns_is_shown_and_may_pass(text: str) -> None:
    assert [one.banned for one in wording.found_in(text)] in ([], [False])


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("rules_zh: 规则", "rules_zh: 分享朋友圈即可领奖", 6),
        ("{zh: 商城}", "{zh: 商城, en: Share to win a prize}", 3), ("{zh: 杯子}", "{zh: 转发领红包}", 8),
    ],
)  # fmt: skip
def test_whatever_customers_read_is_looked_at(old: str, new: str, line: int) -> None:
    with pytest.raises(DocumentError) as refused:
        reading.read(REWARDS.replace(old, new), "f", BRANCHES)
    assert [(one.line, one.code) for one in refused.value.problems] == [(line, "wording")]


@pytest.mark.parametrize("text", ["1", "一", "关注", "分享", "分享，可", "领", "拉1", "invite a ", "share gets ", "集"])
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    wording.found_in(text * (60_000 // len(text)))
    assert time.process_time() - begun < 2.0
