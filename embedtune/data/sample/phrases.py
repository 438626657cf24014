"""The sentence templates and words of the generated sample.

A topic is what a question asks about a place. A topic's questions and statements have almost no characters in common,
so that matching words finds the place and only a tuned model finds the topic. In templates `{place}` is the place,
`{n}` a number, `{name}` a person, `{thing}` a noun.
"""

from __future__ import annotations

TOPICS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("{place}哪一年盖起来的？", "{place}是何时创办的？"),
        ("{place}始建于{n}号令颁布之初。", "{place}落成于{n}届大典前夕。"),
    ),
    (
        ("{place}由谁管事？", "在{place}当家的是哪位？"),
        ("{place}主任一职现由{name}担任。", "{name}出任{place}负责人。"),
    ),
    (
        ("{place}坐落何处？", "到哪里能找到{place}？"),
        ("{place}选址于{thing}街东侧。", "{place}位于{thing}桥以北{n}米。"),
    ),
    (("{place}有多大？", "{place}占了几亩地？"), ("{place}总面积约{n}平方米。", "经测绘，{place}用地合{n}公顷。")),
    (("{place}花了多少钱？", "为{place}掏了几个子儿？"), ("{place}工程耗资{n}万元。", "{place}累计投入经费{n}万元。")),
    (("{place}雇了多少人？", "有几号伙计在{place}干活？"), ("{place}在册职工{n}名。", "{place}编制员额为{n}员。")),
    (
        ("{place}为什么这么叫？", "{place}的称呼怎么来的？"),
        ("{place}得名自{thing}。", "{place}之名取义于{thing}典故。"),
    ),
    (
        ("{place}碰上过什么祸事？", "{place}倒过哪回霉？"),
        ("{place}曾毁于第{n}号大火。", "{place}一度遭洪水冲垮{n}间。"),
    ),
    (
        ("{place}几时翻新的？", "{place}哪会儿整修过？"),
        ("{place}重修工程历时{n}天告竣。", "{place}经{n}次修缮焕然如初。"),
    ),
    (
        ("{place}的图纸是谁画的？", "{place}出自哪个师傅的主意？"),
        ("{place}设计者为建筑师{name}。", "{name}规划并设计了{place}。"),
    ),
    (
        ("{place}最拿手的东西是什么？", "大家上{place}都买啥？"),
        ("{place}招牌物产首推{thing}。", "{thing}乃{place}特色名品。"),
    ),
    (
        ("怎么去{place}最方便？", "上{place}该坐什么车？"),
        ("搭乘{n}路电动公交直达{place}。", "{place}门前设{n}线站台。"),
    ),
    (("{place}几点开门？", "啥时候能进{place}？"), ("{place}每日{n}时起迎宾。", "{place}营业始于晨间{n}刻。")),
    (("进{place}要付多少？", "逛一趟{place}贵不贵？"), ("{place}票价定为{n}元。", "{place}每张入场券售{n}元。")),
    (("{place}得过什么荣誉？", "{place}拿过哪些彩头？"), ("{place}捧回{thing}奖杯。", "{place}获颁第{n}届金质勋章。")),
    (
        ("{place}跟谁一起做过事？", "同{place}搭伙的是哪家？"),
        ("{place}与{thing}公司缔结合作伙伴关系。", "{thing}集团系{place}盟友。"),
    ),
    (
        ("{place}里头存着什么宝贝？", "{place}压箱底的是啥？"),
        ("{place}馆藏以{thing}最为珍稀。", "{place}收藏{thing}{n}件。"),
    ),
    (("{place}以前叫什么？", "{place}的老名儿是啥？"), ("{place}原称{thing}堂。", "{place}旧号{thing}社，后易今称。")),
    (("{place}搬过几次家？", "{place}挪过窝吗？"), ("{place}先后迁址{n}回。", "{place}凡{n}度易地重设。")),
    (
        ("{place}一年来多少客？", "上{place}看热闹的多吗？"),
        ("{place}年均接待游人{n}万。", "{place}访问量达{n}万人次。"),
    ),
    (
        ("{place}吃的水从哪来？", "{place}靠什么解渴？"),
        ("{place}水源引自{thing}河。", "{place}饮用泉眼凿于{thing}坡。"),
    ),
    (
        ("{place}靠什么点灯？", "{place}夜里怎么照亮？"),
        ("{place}电力由{thing}电站供给。", "{place}装设{n}千瓦发电机。"),
    ),
    (
        ("{place}种了哪些树？", "在{place}能乘什么凉荫？"),
        ("{place}庭院遍植{thing}。", "{place}绿化以{thing}林木为主。"),
    ),
    (("{place}的墙拿什么砌的？", "{place}用的啥料？"), ("{place}主体采用{thing}石材。", "{place}结构系{thing}砖混。")),
    (
        ("关于{place}流传着什么故事？", "老人怎么讲{place}的奇闻？"),
        ("民间传说{place}夜现{thing}。", "相传{place}地下埋有{thing}。"),
    ),
    (
        ("{place}热闹的日子是哪天？", "什么时候上{place}赶集？"),
        ("{place}庙会定于农历{n}日。", "{place}节庆逢{n}举行。"),
    ),
    (("{place}有几层高？", "{place}楼梯要爬多久？"), ("{place}塔身共{n}级。", "{place}檐顶距地面{n}丈。")),
    (("{place}是为了怀念谁？", "盖{place}想让人记住哪位？"), ("{place}为纪念{name}而设。", "{place}奉祀先贤{name}。")),
    (
        ("想进{place}得考什么？", "{place}招人看哪样本事？"),
        ("{place}录取须通过{thing}测试。", "{place}甄选以{thing}成绩为准。"),
    ),
    (("在{place}不许干什么？", "{place}有啥忌讳？"), ("{place}明令禁止携带{thing}。", "{place}严禁采摘{thing}。")),
    (
        ("{place}眼下最发愁的是啥？", "{place}卡在哪个坎上？"),
        ("{place}当前难题在于{thing}短缺。", "{place}面临{thing}不足困境。"),
    ),
    (
        ("{place}往后打算怎么办？", "{place}下一步想折腾啥？"),
        ("{place}未来规划扩充{thing}。", "{place}远景目标系发展{thing}。"),
    ),
    (
        ("{place}背后是谁出资？", "哪个老板养着{place}？"),
        ("{place}由{thing}商会捐助。", "{place}受{thing}基金会赞助。"),
    ),
    (("{place}印过什么书？", "{place}有哪些铅字？"), ("{place}刊行《{thing}志》。", "{place}出版《{thing}丛录》。")),
    (
        ("{place}用的是什么机器？", "{place}靠哪种家伙干活？"),
        ("{place}装备{thing}型机组{n}套。", "{place}配置{thing}牌设备。"),
    ),
    (("{place}那儿冷不冷？", "去{place}要穿厚点吗？"), ("{place}冬季平均气温零下{n}度。", "{place}严寒期长达{n}旬。")),
    (
        ("{place}的人说什么话？", "跟{place}的人聊天听得懂吗？"),
        ("{place}通行{thing}方言。", "{place}一带讲{thing}土语。"),
    ),
    (("{place}吃饭有什么讲究？", "{place}灶上常烧啥？"), ("{place}膳食以{thing}为主。", "{place}餐桌必备{thing}。")),
    (("{place}屋顶刷成啥样？", "{place}外头什么色？"), ("{place}顶部漆作{thing}彩。", "{place}瓦面呈{thing}调。")),
    (
        ("{place}的队伍踢得怎样？", "{place}运动会上厉害吗？"),
        ("{place}球员夺得联赛第{n}。", "{place}代表团位列{n}强。"),
    ),
)

PLACE_FIRST = "临青沧云白石清永安泰和嘉昌宁广福龙虎凤金银玉松柏梅兰竹柳桃杏荷枫南北东西"
PLACE_SECOND = "川河江湖海山岭峰谷原溪泉浦津渡洲岛湾塘桥门阳阴城镇"
PLACE_KINDS = ("书院", "水库", "茶厂", "医院", "码头", "剧院", "钟楼", "粮仓", "学堂", "磨坊", "驿站", "船坞")
SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张"
GIVEN = "伯仲叔季文武德明光华国民志远思敏学诗礼义信勇刚毅"
THINGS = (
    "青瓷 紫檀 白玉 铜镜 丝绸 莲藕 银杏 核桃 红枣 糯米 竹简 墨砚 陶罐 马灯 油纸 铁锚 棉布 芝麻 花岗 琉璃 香樟 海棠 "
    "茉莉 腊梅 麦芽 豆豉 灯笼 风筝 古琴 石鼓 皮影 砂糖 樱桃 橄榄 葡萄 琥珀 玛瑙 珊瑚 松香 桐油 石榴 枇杷"
).split()
MENTIONS = (
    "说起{place}，镇上的人总有讲不完的旧闻。",
    "那天路过{place}时，天色已经暗了下来。",
    "有人把{place}比作一本翻旧了的册子。",
    "从{place}往回走，要经过一段长长的石板路。",
    "提到{place}，他只是摇摇头，没有多讲。",
    "这一段与{place}并无太大干系，姑且记在这里。",
)
FILLERS = (
    "雨下了整整一个下午，街上几乎看不到行人。",
    "据当时留下的笔记记载，事情的经过大致如此。",
    "后来的研究者对此各执一词，至今没有定论。",
    "读到此处，不妨停下来想一想前后的因果。",
    "档案中的这一页已经泛黄，字迹却还清楚。",
    "这样的情形在附近的村落里也并不少见。",
    "秋收之后，大家照例聚在一处闲谈。",
    "新的一章从这里开始，旧的线索暂且放下。",
    "不少细节只能从零散的书信里拼凑出来。",
    "孩子们在空地上追逐，笑声传得很远。",
    "那几年的账目后来重新誊抄过一遍。",
    "编者按：以下内容根据口述整理，略有删节。",
    "窗外的风渐渐小了，炉火仍旧烧得很旺。",
    "为了查证此事，我们前后走访了许多人家。",
)
